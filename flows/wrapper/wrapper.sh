# What is set before this:
#
#   token       of the job
#   work        a directory with room for the job's files; it is made where it is not there
#   input       the packed job, a file; fetched from input_url where that is set
#   output      where its outputs are to be left, packed; sent to output_url where that is set
#   limit       seconds that the command may take, or nothing
#   write_command   a function that writes the command
#
# It ends with 0 when the command came to its end, whichever that was: the return code is among the outputs.
# It ends with 75 and a line on standard error when it could not do its part. POSIX, but for -ef, -nt and -ot,
# which all shells know that call themselves sh; setsid where it is there.

umask 077
unset CDPATH TAR_OPTIONS

say() { printf 'bartender: %s\n' "$*" >&2; }
broken() { say "$@"; exit 75; }
has() { command -v "$1" >/dev/null 2>&1; }

fetch() {
    if has curl; then
        curl -fsSL --retry 5 -o "$2" "$1"
    elif has wget; then
        wget -q -O "$2" "$1"
    elif has python3; then
        python3 -c 'import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as source, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(source, file)' "$1" "$2"
    else
        broken 'curl, wget or python3 is needed to fetch the job: put one of them into the image'
    fi
}

send() {
    if has curl; then
        curl -fsSL --retry 5 -o /dev/null -T "$2" "$1"
    elif has wget && wget --help 2>&1 | grep -q body-file; then
        wget -q --method=PUT --body-file="$2" -O /dev/null "$1"
    elif has python3; then
        python3 -c 'import os, sys, urllib.request
with open(sys.argv[2], "rb") as file:
    headers = {"Content-Length": str(os.path.getsize(sys.argv[2])), "Content-Type": "application/x-tar"}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], file, headers, method="PUT")).close()' "$1" "$2"
    else
        broken "curl, GNU's wget or python3 is needed to send the outputs: put one of them into the image"
    fi
}

# Called by the packed job's file `inputs`: with a time, and the names of inputs that had it. Those that nobody
# has touched go: they are where they came from. They are still the same files, by the links in `before`.
same() {
    time=../times/$1
    shift
    for name do
        shift
        if [ "$name" -ef "../before/$name" ] && [ ! "$name" -nt "$time" ] && [ ! "$name" -ot "$time" ]; then
            set -- "$@" "$name"
        fi
    done
    [ $# -eq 0 ] || rm -f -- "$@"
}

tell() { kill "-$1" "$whole" 2>/dev/null; }

# It looks whether it is still needed: a signal to it could come before it listens, and be lost.
end_in_time() {
    left=$limit
    while [ "$left" -gt 0 ]; do
        sleep 1
        [ ! -e ../ended ] || exit
        left=$((left - 1))
    done
    : >../late
    tell TERM
    sleep 3
    tell KILL
}

pack() {
    chmod -R u+rwX . 2>/dev/null
    find . ! -type f ! -type d ! -type l -exec rm -f {} +
    tar -cf "$output" . && return
    # Of GNU's tar, 1 says that something has changed meanwhile: what left the command's group may write on.
    [ $? -eq 1 ] && tar --version 2>/dev/null | grep -q GNU
}

has tar || broken 'tar is needed to unpack the job: put it into the image'
mkdir -p "$work" && cd "$work" || broken "the directory $work cannot be used"
# Only who makes this directory goes on: a token is run once, however often it is started.
mkdir "$token" 2>/dev/null || {
    [ -d "$token" ] || broken "nothing can be written to $work"
    say 'the job was started before'
    exit 0
}
cd "$token" || broken "the directory $work/$token cannot be used"
if [ "$input_url" ]; then
    input=$PWD/input.tar
    fetch "$input_url" "$input" || broken 'the job could not be fetched'
fi
tar -xf "$input" && cd job || broken 'the job could not be unpacked'
[ ! "$input_url" ] || rm -f "$input"
write_command >../command || broken 'the command could not be written'
# Where that does not work, nothing is known to be unchanged.
cp -lR . ../before 2>/dev/null || rm -rf ../before

shell=sh
! has bash || shell=bash
leader=
if has setsid; then leader=setsid; else set -m 2>/dev/null; fi
$leader "$shell" ../command >stdout.txt 2>stderr.txt </dev/null &
job=$!
# The command and what it has started; itself alone where it could get no group of its own.
whole=-$job
[ "$leader" ] || kill -0 "$whole" 2>/dev/null || whole=$job
trap ': >../ended; tell TERM; sleep 3; tell KILL; broken "the job was told to end"' HUP INT TERM
if [ "$limit" ]; then
    end_in_time </dev/null >/dev/null 2>&1 &
    watcher=$!
fi
wait "$job"
code=$?
: >../ended
[ ! -e ../late ] || wait "$watcher"
# Nothing that the command has left in its group may run on.
tell KILL

rm -rf returncode
if [ -e ../late ]; then
    code=124
    printf '\nbartender: the command was ended after %s s, its time limit.\n' "$limit" >>stderr.txt
fi
printf %s "$code" >returncode || broken 'the return code could not be written'
# It is gone where the command removed it; then all is sent.
[ ! -r ../inputs ] || . ../inputs
[ ! "$output_url" ] || output=$work/$token/output.tar
pack || broken 'the outputs could not be packed'
[ ! "$output_url" ] || send "$output_url" "$output" || broken 'the outputs could not be sent'
cd ..
rm -rf job before times inputs command late
[ ! "$output_url" ] || rm -f "$output"
exit 0
