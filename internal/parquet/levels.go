package parquet

import "encoding/binary"

// levels are small numbers, most of which are as the one before.
type levels struct {
	runs []run
	n    int
}

type run struct{ v, n uint32 }

func (l *levels) add(v uint32, n int) {
	l.n += n
	if k := len(l.runs) - 1; k >= 0 && l.runs[k].v == v {
		l.runs[k].n += uint32(n)
		return
	}
	l.runs = append(l.runs, run{v, uint32(n)})
}

func (l *levels) reset() { l.runs, l.n = l.runs[:0], 0 }

// appendHybrid appends the levels as the format's hybrid of runs and groups of
// eight packed numbers of width bits.
func (l *levels) appendHybrid(b []byte, width int) []byte {
	var packed packer
	packed.width = width
	for _, r := range l.runs {
		n := r.n
		// A group that was begun is filled up first: only the last may be padded.
		for n > 0 && (packed.open() || n < 8) {
			packed.put(r.v)
			n--
		}
		if n == 0 {
			continue
		}
		b = packed.flush(b)
		b = binary.AppendUvarint(b, uint64(n)<<1)
		for k := 0; k < width; k += 8 {
			b = append(b, byte(r.v>>k))
		}
	}
	return packed.flush(b)
}

// packer packs numbers into bits, the first into the lowest.
type packer struct {
	width int
	n     int
	bits  uint64
	have  int
	out   []byte
}

func (p *packer) open() bool { return p.n%8 != 0 }

func (p *packer) put(v uint32) {
	p.bits |= uint64(v) << p.have
	p.n++
	for p.have += p.width; p.have >= 8; p.have -= 8 {
		p.out = append(p.out, byte(p.bits))
		p.bits >>= 8
	}
}

// flush appends what was put, if anything.
func (p *packer) flush(b []byte) []byte {
	if p.n == 0 {
		return b
	}
	for p.open() {
		p.put(0)
	}
	b = binary.AppendUvarint(b, uint64(p.n/8)<<1|1)
	b = append(b, p.out...)
	p.n, p.out = 0, p.out[:0]
	return b
}
