# One owner of everything: a regression of body mass on flipper length over
# the Palmer penguins. See demo.sh for who calls this.

algorithm=$BUILD/examples/linreg/linreg
[ "$KIND" = bin ] || algorithm=examples/linreg/linreg.py
dataset=examples/linreg/penguins.csv

play_prepare() {
    title "1. A key pair, an algorithm, a dataset"
    say "One person brings the algorithm and the data and takes the result here; all three roles sign with" \
        "this key. (make demo EXAMPLE=two-providers shows owners who don't trust each other.)"
    shown cocos-cli keys -k ecdsa
    run env -C "$tmp" cocos-cli keys -k ecdsa || fail "no keys were made"
    say "" "The algorithm: $algorithm fits a line by least squares." \
        "The dataset: $dataset, 344 penguins (examples/linreg/ORIGIN.md)."
    shown cocos-cli checksum "$dataset"
    run cocos-cli checksum "$dataset" || fail "the dataset can't be read"
    cvms_flags=(-public-key-path "$tmp/public.pem" -attested-tls-bool false
        -algo-path "$algorithm" -algo-type "$KIND" -data-paths "$dataset")
}

play_upload() {
    say "The agent takes what has the hash that the manifest names, signed with the key it names."
    shown cocos-cli algo "$algorithm" private.pem -a "$KIND" --args flipper_length_mm --args body_mass_g
    run cocos-cli algo "$algorithm" "$tmp/private.pem" -a "$KIND" --args flipper_length_mm --args body_mass_g ||
        fail "the algorithm was not taken"
    shown cocos-cli data "$dataset" private.pem
    run cocos-cli data "$dataset" "$tmp/private.pem" || fail "the dataset was not taken"
}

play_fetch() {
    shown cocos-cli result private.pem
    run cocos-cli result -o "$tmp" "$tmp/private.pem" || fail "no result came"
    run /usr/bin/python3 -m zipfile -e "$tmp/results.zip" "$tmp/results" || fail "the result is no archive"
    say "" "results.zip holds:"
    cat "$tmp/results/model.json"
}
