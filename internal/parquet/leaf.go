package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/DataDog/zstd"
)

const (
	// pageBytes is where a page ends: it and the compressor's tables stay in a
	// core's cache.
	pageBytes = 256 << 10
	// pageRuns is where a page ends that has many short runs.
	pageRuns = 1 << 17
	// headRoom is kept free before a page's values: levels mostly fit, so that
	// the values stay where they are.
	headRoom = 64
	// smallChunk are bytes that are not worth compressing.
	smallChunk = 128
	// maxStatistic bounds a value that is written as a bound of a chunk.
	maxStatistic = 256
	zstdLevel    = 1
)

const (
	encodingPlain, encodingPlainDictionary, encodingRLE = 0, 2, 3
	codecNone, codecZstd                                = 0, 6
	pageData, pageDictionary                            = 0, 2
)

// Leaf is a column of scalar values, which may be a part of a nested column.
type Leaf struct {
	z        *compressor
	kind     Kind
	path     []string
	def, rep uint8 // the highest levels

	// The page that is being filled.
	defs, reps levels
	index      levels // of dict
	plain      []byte // without a dictionary; of Bool, a byte each
	present    int

	// The chunk.
	dict    *dictionary // nil once it does not pay
	left    *dictionary // of the chunk's first pages, when dict is nil since
	codec   int
	pages   []byte
	started bool // a page is there
	values  int
	known   int // that are not NULL
	raw     int // bytes before compression

	encoded []byte
}

func newLeaf(z *compressor, k Kind, path []string, def, rep uint8) *Leaf {
	l := &Leaf{plain: make([]byte, headRoom), z: z, kind: k, path: path, def: def, rep: rep}
	switch k {
	case Text:
		l.dict = newDictionary(0)
	case Timestamp:
		l.dict = newDictionary(8)
	}
	return l
}

// Null adds n NULLs, or empty lists, as def says.
func (l *Leaf) Null(rep, def uint8, n int) {
	l.turn(rep)
	l.level(rep, def, n)
}

func (l *Leaf) level(rep, def uint8, n int) {
	l.defs.add(uint32(def), n)
	if l.rep > 0 {
		l.reps.add(uint32(rep), n)
	}
}

// turn ends the page if it is full and a value of repetition level rep begins
// a row: rows are not divided.
func (l *Leaf) turn(rep uint8) {
	if rep != 0 {
		return
	}
	paid := l.dict == nil || l.dict.pays(l.known+l.present)
	if len(l.plain) < pageBytes && len(l.index.runs) < pageRuns && len(l.defs.runs) < pageRuns && len(l.reps.runs) < pageRuns && paid {
		return
	}
	l.page(false)
	if !paid {
		l.dict, l.left = nil, l.dict
	}
}

// Add adds a value n times: more than once only if each is a row.
func (l *Leaf) Add(rep uint8, v []byte, n int) {
	for n > 0 {
		l.turn(rep)
		if l.dict != nil {
			l.level(rep, l.def, n)
			l.index.add(l.dict.find(v), n)
			l.present += n
			return
		}
		k := min(n, 1+pageBytes/(len(v)+4))
		l.level(rep, l.def, k)
		l.present += k
		for range k {
			if l.kind == Text {
				l.plain = binary.LittleEndian.AppendUint32(l.plain, uint32(len(v)))
			}
			l.plain = append(l.plain, v...)
		}
		n -= k
	}
}

// page ends the page; final says that it is the chunk's last.
func (l *Leaf) page(final bool) {
	if l.defs.n == 0 && (l.started || !final) {
		return
	}
	b := l.encoded[:0]
	if l.rep > 0 {
		b = appendLevels(b, &l.reps, int(l.rep))
	}
	if l.def > 0 {
		b = appendLevels(b, &l.defs, int(l.def))
	}
	var content []byte
	encoding := encodingPlain
	switch {
	case l.dict != nil && l.present > 0:
		encoding = encodingPlainDictionary
		width := bits.Len(uint(max(1, len(l.dict.ends)-1)))
		b = l.index.appendHybrid(append(b, byte(width)), width)
	case l.kind == Bool:
		var p packer
		p.width = 1
		for _, v := range l.plain[headRoom:] {
			p.put(uint32(v))
		}
		for p.open() {
			p.put(0)
		}
		b = append(b, p.out...)
	case len(b) <= headRoom:
		from := headRoom - len(b)
		copy(l.plain[from:], b)
		content = l.plain[from:]
	default:
		b = append(b, l.plain[headRoom:]...)
	}
	if content == nil {
		content = b
	}
	if !l.started {
		l.codec = codecZstd
		if n := len(content); final && (n < smallChunk) && (l.dict == nil || n+len(l.dict.plain) < smallChunk) {
			l.codec = codecNone
		}
	}
	before := len(l.pages)
	l.pages = l.appendPage(l.pages, content, func(t *thrift) {
		t.open(5)
		t.i32(1, l.defs.n)
		t.i32(2, encoding)
		t.i32(3, encodingRLE)
		t.i32(4, encodingRLE)
		t.end()
	}, pageData)
	l.z.held += len(l.pages) - before
	l.encoded = b
	l.started = true
	l.values += l.defs.n
	l.known += l.present
	l.present = 0
	l.defs.reset()
	l.reps.reset()
	l.index.reset()
	l.plain = l.plain[:headRoom]
}

func appendLevels(b []byte, l *levels, highest int) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = l.appendHybrid(b, bits.Len(uint(highest)))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// appendPage appends a page of the chunk, header and content.
func (l *Leaf) appendPage(dst, content []byte, head func(*thrift), kind int) []byte {
	packed := content
	if l.codec == codecZstd {
		packed = l.z.compress(content)
	}
	t := thrift{b: dst}
	from := len(dst)
	t.begin()
	t.i32(1, kind)
	t.i32(2, len(content))
	t.i32(3, len(packed))
	head(&t)
	t.end()
	l.raw += len(t.b) - from + len(content)
	return append(t.b, packed...)
}

// dictionaryPage appends a dictionary's page.
func (l *Leaf) dictionaryPage(dst []byte, d *dictionary) []byte {
	return l.appendPage(dst, d.plain, func(t *thrift) {
		t.open(7)
		t.i32(1, len(d.ends))
		t.i32(2, encodingPlainDictionary)
		t.end()
	}, pageDictionary)
}

// less is the format's order of values.
func (l *Leaf) less(a, b []byte) bool {
	if l.kind == Timestamp {
		return int64(binary.LittleEndian.Uint64(a)) < int64(binary.LittleEndian.Uint64(b))
	}
	return bytes.Compare(a, b) < 0
}

// reset begins the next chunk.
func (l *Leaf) reset() {
	if l.dict != nil {
		l.dict.reset()
	}
	l.left = nil
	l.pages, l.started, l.values, l.known, l.raw = l.pages[:0], false, 0, 0, 0
}

// compressor is zstd with memory of its own. The leaves of a file share it.
type compressor struct {
	ctx  zstd.Ctx
	out  []byte
	held int // bytes of the leaves' pages
	err  error
}

func (z *compressor) compress(b []byte) []byte {
	out, err := z.ctx.CompressLevel(z.out, b, zstdLevel)
	if err != nil {
		z.err = errors.Join(z.err, err)
		return nil
	}
	z.out = out
	return out
}
