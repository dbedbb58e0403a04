#!/bin/sh
# Copies the files of the folder $1 to the folder $2.
set -eu

if [ -e "$1/.locked" ]; then
  echo "@dagverk snooze 10m"
  exit 171                        # somebody works there: again later, no attempt used
fi
[ -d "$1" ] || { echo "there is no folder $1" >&2; exit 173; }   # hopeless: straight to the dead set

mkdir -p "$2"
total=$(ls "$1" | wc -l)
count=0
for file in "$1"/*; do
  cp "$file" "$2"
  count=$((count + 1))
  echo "@dagverk progress $((count * 100 / total))% $count of $total"
  echo "@dagverk log copied ${file##*/}"
done
echo "@dagverk result $count files"
