# Source distribution and wheel: both build, and the former has what it must and nothing else.
use_tools
make_dist

section "the source distribution's files"
tar tzf "$work"/dist/*.tar.gz | sort >"$work/sdist"
grep -q /src/weights/mtcnn.safetensors "$work/sdist"
if grep -E '/\.(ci|github)/|\.so$|\.pyc$' "$work/sdist"; then
  echo "the above does not belong into the source distribution"
  exit 1
fi
