package parquet

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"
)

// readHybrid reads what appendHybrid writes, as the format describes it.
func readHybrid(t *testing.T, b []byte, width, n int) []uint32 {
	var out []uint32
	for len(out) < n {
		head, k := binary.Uvarint(b)
		if k <= 0 {
			t.Fatalf("%d of %d levels, then %x", len(out), n, b)
		}
		b = b[k:]
		if head&1 == 0 {
			v := uint32(0)
			for i := range (width + 7) / 8 {
				v |= uint32(b[i]) << (8 * i)
			}
			b = b[(width+7)/8:]
			out = append(out, slices.Repeat([]uint32{v}, int(head>>1))...)
			continue
		}
		count := int(head>>1) * 8
		for i := range count {
			v := uint32(0)
			for k := range width {
				at := i*width + k
				v |= uint32(b[at/8]>>(at%8)&1) << k
			}
			out = append(out, v)
		}
		b = b[count*width/8:]
	}
	if len(b) > 0 {
		t.Fatalf("%x is left", b)
	}
	if len(out)-n >= 8 {
		t.Fatalf("%d levels are padded to %d", n, len(out))
	}
	return out[:n]
}

func FuzzLevels(f *testing.F) {
	f.Add([]byte{0, 1, 5, 1, 0, 9, 3, 200, 2, 1, 2, 1, 7, 255}, uint8(3))
	f.Add([]byte{1, 7, 0, 1, 1, 8}, uint8(1))
	f.Add([]byte{9, 3}, uint8(17))
	f.Fuzz(func(t *testing.T, b []byte, width uint8) {
		w := int(width%20) + 1
		var l levels
		var want []uint32
		for ; len(b) >= 2; b = b[2:] {
			v := uint32(b[0]) * 2053 & (1<<w - 1)
			l.add(v, int(b[1])+1)
			want = append(want, slices.Repeat([]uint32{v}, int(b[1])+1)...)
		}
		if got := readHybrid(t, l.appendHybrid(nil, w), w, len(want)); !slices.Equal(got, want) {
			t.Errorf("width %d: %v comes back as %v", w, want, got)
		}
	})
}

// TestDictionary: entries keep their numbers while the table grows.
func TestDictionary(t *testing.T) {
	t.Parallel()
	d := newDictionary(0)
	text := func(i int) []byte { return slices.Repeat([]byte{byte(i), byte(i >> 8)}, bits.Len(uint(i))) }
	for round := range 2 {
		for i := 1; i <= 3000; i++ {
			if n := d.find(text(i)); n != uint32(i-1) {
				t.Fatalf("round %d: value %d has number %d", round, i, n)
			}
		}
	}
	if !d.pays(6001) || d.pays(6000) || !d.pays(dictionaryTrial-1) {
		t.Error("half of the values must be known ones, once there are some")
	}
	if lo, hi := d.bounds(func(a, b []byte) bool { return slices.Compare(a, b) < 0 }); !slices.Equal(lo, text(256)) || !slices.Equal(hi, text(2815)) {
		t.Errorf("the bounds are %x and %x", lo, hi)
	}
}
