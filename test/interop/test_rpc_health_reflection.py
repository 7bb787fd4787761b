"""Health and reflection of our server, driven by grpcio with descriptors written here."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import EchoCase, descriptors, harness  # noqa: E402
import grpc  # noqa: E402
from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: E402

F = descriptor_pb2.FieldDescriptorProto


def message(file, name, *fields):
    """fields: (number, name, type or message name, label); label "r" repeats, "o" is in the oneof."""
    m = file.message_type.add(name=name)
    for number, field_name, kind, label in fields:
        f = m.field.add(number=number, name=field_name, label=F.LABEL_REPEATED if label == "r" else F.LABEL_OPTIONAL)
        if isinstance(kind, str):
            f.type, f.type_name = F.TYPE_MESSAGE, f".{file.package}.{kind}"
        else:
            f.type = kind
        if label == "o":
            if not m.oneof_decl:
                m.oneof_decl.add(name="arm")
            f.oneof_index = 0


def classes(package, build):
    """Message classes by name, of a file made here and known to no registry."""
    file = descriptor_pb2.FileDescriptorProto(name=package + ".test", package=package, syntax="proto3")
    build(file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {m.name: harness.message_class(pool.FindMessageTypeByName(f"{package}.{m.name}"))
            for m in file.message_type}


def health_file(file):
    message(file, "HealthCheckRequest", (1, "service", F.TYPE_STRING, ""))
    message(file, "HealthCheckResponse", (1, "status", F.TYPE_INT32, ""))


def reflection_file(file):
    message(file, "ExtensionRequest", (1, "containing_type", F.TYPE_STRING, ""),
            (2, "extension_number", F.TYPE_INT32, ""))
    message(file, "ServerReflectionRequest", (1, "host", F.TYPE_STRING, ""),
            (3, "file_by_filename", F.TYPE_STRING, "o"), (4, "file_containing_symbol", F.TYPE_STRING, "o"),
            (5, "file_containing_extension", "ExtensionRequest", "o"),
            (6, "all_extension_numbers_of_type", F.TYPE_STRING, "o"), (7, "list_services", F.TYPE_STRING, "o"))
    message(file, "FileDescriptorResponse", (1, "file_descriptor_proto", F.TYPE_BYTES, "r"))
    message(file, "ExtensionNumberResponse", (1, "base_type_name", F.TYPE_STRING, ""),
            (2, "extension_number", F.TYPE_INT32, "r"))
    message(file, "ServiceResponse", (1, "name", F.TYPE_STRING, ""))
    message(file, "ListServiceResponse", (1, "service", "ServiceResponse", "r"))
    message(file, "ErrorResponse", (1, "error_code", F.TYPE_INT32, ""), (2, "error_message", F.TYPE_STRING, ""))
    message(file, "ServerReflectionResponse", (1, "valid_host", F.TYPE_STRING, ""),
            (2, "original_request", "ServerReflectionRequest", ""),
            (4, "file_descriptor_response", "FileDescriptorResponse", "o"),
            (5, "all_extension_numbers_response", "ExtensionNumberResponse", "o"),
            (6, "list_services_response", "ListServiceResponse", "o"), (7, "error_response", "ErrorResponse", "o"))


SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


class Health(EchoCase):
    def setUp(self):
        super().setUp()
        self.server = self.echo_server()
        self.channel = self.connect(self.server)
        made = classes("grpc.health.v1", health_file)
        self.request, self.response = made["HealthCheckRequest"], made["HealthCheckResponse"]
        options = {"request_serializer": lambda m: m.SerializeToString(),
                   "response_deserializer": made["HealthCheckResponse"].FromString}
        self.check = self.channel.unary_unary("/grpc.health.v1.Health/Check", **options)
        self.watch = self.channel.unary_stream("/grpc.health.v1.Health/Watch", **options)

    def test_server_and_its_names_serve(self):
        for name in ("", "test.Echo"):
            with self.subTest(name=name):
                self.assertEqual(self.check(self.request(service=name), timeout=harness.deadline(10)).status, SERVING)

    def test_H2_14_reflection_is_off_unless_asked_for(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                info = self.channel.stream_stream(f"/{version}.ServerReflection/ServerReflectionInfo")
                self.assert_fails(grpc.StatusCode.UNIMPLEMENTED,
                                  lambda c=info: list(c(iter([b""]), timeout=harness.deadline(10))))

    def test_unknown_name_is_not_found(self):
        self.assert_fails(grpc.StatusCode.NOT_FOUND,
                          lambda: self.check(self.request(service="nobody"), timeout=harness.deadline(10)),
                          "unknown service")

    def test_watch_says_the_state_and_stays(self):
        for name, want in (("", SERVING), ("nobody", SERVICE_UNKNOWN)):
            with self.subTest(name=name):
                call = self.watch(self.request(service=name), timeout=harness.deadline(30))
                self.assertEqual(next(call).status, want)
                self.assertTrue(call.is_active())
                call.cancel()

    def test_watchers_do_not_hold_back_a_drain(self):
        self.server.stop()
        self.server = self.echo_server("--grace=600s")
        self.watch = self.connect(self.server).unary_stream(
            "/grpc.health.v1.Health/Watch", request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=self.response.FromString)
        call = self.watch(self.request(), timeout=harness.deadline(60))
        self.assertEqual(next(call).status, SERVING)
        self.assertEqual(self.server.stop(), 0)
        heard = []
        with self.assertRaises(grpc.RpcError) as caught:
            for r in call:
                heard.append(r.status)
        self.assertEqual(heard, [NOT_SERVING])
        self.assertEqual((caught.exception.code(), caught.exception.details()),
                         (grpc.StatusCode.UNAVAILABLE, "the server is shutting down"))


class Reflection(EchoCase):
    def setUp(self):
        super().setUp()
        self.server = self.echo_server("--descriptors=" + descriptors(self.dir))
        self.channel = self.connect(self.server)

    def ask(self, version, *requests):
        made = classes(version, reflection_file)
        info = self.channel.stream_stream(f"/{version}.ServerReflection/ServerReflectionInfo",
                                          request_serializer=lambda m: m.SerializeToString(),
                                          response_deserializer=made["ServerReflectionResponse"].FromString)
        sent = [made["ServerReflectionRequest"](host="here", **r) for r in requests]
        replies = list(info(iter(sent), timeout=harness.deadline(10)))
        self.assertEqual([r.original_request for r in replies], sent)
        self.assertEqual({r.valid_host for r in replies}, {"here"})
        return replies

    def test_services_are_listed(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                reply, = self.ask(version, {"list_services": "*"})
                names = [s.name for s in reply.list_services_response.service]
                self.assertEqual(names, sorted(["test.Echo", "grpc.health.v1.Health"] +
                                               [v + ".ServerReflection" for v in VERSIONS]))

    def test_what_a_stranger_needs_to_call_a_method_can_be_learnt(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                reply, = self.ask(version, {"file_containing_symbol": "test.Echo"})
                pool = descriptor_pool.DescriptorPool()
                for data in reversed(reply.file_descriptor_response.file_descriptor_proto):
                    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
                method = pool.FindServiceByName("test.Echo").FindMethodByName("Unary")
                call = self.channel.unary_unary("/test.Echo/Unary")
                request = harness.message_class(method.input_type)(data=b"learnt")
                answer = harness.message_class(method.output_type).FromString(
                    call(request.SerializeToString(), timeout=harness.deadline(10)))
                self.assertEqual(answer.data, b"learnt")

    def test_requests_of_one_stream_are_answered_in_order(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                replies = self.ask(version, {"file_by_filename": "no.proto"}, {"file_containing_symbol": "no.Symbol"},
                                   {"file_by_filename": "echo.proto"},
                                   {"file_containing_extension": {"containing_type": "test.Payload",
                                                                  "extension_number": 1}},
                                   {"all_extension_numbers_of_type": "test.Payload"},
                                   {"all_extension_numbers_of_type": "no.Type"})
                arms = [r.WhichOneof("arm") for r in replies]
                self.assertEqual(arms, ["error_response", "error_response", "file_descriptor_response",
                                        "error_response", "all_extension_numbers_response", "error_response"])
                self.assertEqual({r.error_response.error_code for r in replies if r.HasField("error_response")}, {5})
                self.assertEqual(replies[4].all_extension_numbers_response.base_type_name, "test.Payload")

    def test_a_request_for_nothing_is_invalid(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT, lambda v=version: self.ask(v, {}))

    def test_many_requests_of_a_client_that_does_not_read_cost_little(self):
        info = self.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        ask = classes("grpc.reflection.v1", reflection_file)["ServerReflectionRequest"](
            file_containing_symbol="test.Echo").SerializeToString()
        before = self.server.status("VmHWM")
        call = info((ask for _ in range(20000)), timeout=harness.deadline(60))
        next(call)
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmHWM") - before, 16 * 1024)
        self.assertEqual(sum(1 for _ in call), 19999)


if __name__ == "__main__":
    harness.main()
