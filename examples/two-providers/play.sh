# Four people who don't trust each other: two stations with a table of their
# own each, an author of the algorithm, and a consumer who alone gets the
# result. The line is fitted over both tables; nobody sees them together.
# See demo.sh for who calls this.

algorithm=$BUILD/examples/linreg/linreg
[ "$KIND" = bin ] || algorithm=examples/linreg/linreg.py
table=examples/linreg/penguins.csv

# person <name> <type of key>: a directory with a key pair.
person() {
    mkdir "$tmp/$1" || exit 1
    shown "(cd $1 && cocos-cli keys -k $2)"
    run env -C "$tmp/$1" cocos-cli keys -k "$2" || fail "no keys were made for $1"
}

play_prepare() {
    title "1. Four people, each with a key pair of their own"
    person author ecdsa
    person biscoe rsa
    person others ed25519
    person consumer ecdsa
    say "" "Two stations: one holds the penguins of Biscoe island, the other those of Dream and Torgersen." \
        "(Here both come from $table.)"
    awk -F, 'NR == 1 || $2 == "Biscoe"' "$table" >"$tmp/biscoe/biscoe.csv" &&
        awk -F, 'NR == 1 || $2 != "Biscoe"' "$table" >"$tmp/others/others.csv" || fail "the tables can't be made"
    cvms_flags=(-attested-tls-bool false -algo-path "$algorithm" -algo-type "$KIND"
        -algo-key "$tmp/author/public.pem"
        -dataset "name=biscoe.csv,path=$tmp/biscoe/biscoe.csv,key=$tmp/biscoe/public.pem"
        -dataset "name=others.csv,path=$tmp/others/others.csv,key=$tmp/others/public.pem"
        -consumer-key "$tmp/consumer/public.pem")
}

# bring <who> <file>: a station uploads its table.
bring() {
    shown cocos-cli data "$2" "$1/private.pem"
    run cocos-cli data "$tmp/$2" "$tmp/$1/private.pem"
}

play_upload() {
    shown cocos-cli algo "$algorithm" author/private.pem -a "$KIND"
    run cocos-cli algo "$algorithm" "$tmp/author/private.pem" -a "$KIND" || fail "the algorithm was not taken"
    say "" "A key opens only the slot the manifest gives it. One station tries to bring the other's table:"
    ! bring others biscoe/biscoe.csv || fail "a table was taken from somebody who does not own it"
    say "" "Now both bring their own:"
    bring biscoe biscoe/biscoe.csv || fail "the first table was not taken"
    bring others others/others.csv || fail "the second table was not taken"
}

play_fetch() {
    say "A station asks for the result; it provided data, but it is no consumer:"
    shown cocos-cli result biscoe/private.pem
    ! run cocos-cli result -o "$tmp/biscoe" "$tmp/biscoe/private.pem" || fail "the result went to a stranger"
    say "" "The consumer asks:"
    shown cocos-cli result consumer/private.pem
    run cocos-cli result -o "$tmp/consumer" "$tmp/consumer/private.pem" || fail "no result came"
    run /usr/bin/python3 -m zipfile -e "$tmp/consumer/results.zip" "$tmp/consumer" || fail "the result is no archive"
    say "" "results.zip holds:"
    cat "$tmp/consumer/model.json"
}
