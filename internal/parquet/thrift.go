package parquet

import "encoding/binary"

// The types of Thrift's compact protocol that Parquet's structures need.
const (
	wireTrue   = 1
	wireFalse  = 2
	wireI32    = 5
	wireI64    = 6
	wireBinary = 8
	wireList   = 9
	wireStruct = 12
)

// thrift writes structures in Thrift's compact protocol.
type thrift struct {
	b    []byte
	last []int16 // of each open structure, the field before
}

func (t *thrift) field(id int16, wire byte) {
	top := len(t.last) - 1
	if d := id - t.last[top]; d > 0 && d < 16 {
		t.b = append(t.b, byte(d)<<4|wire)
	} else {
		t.b = binary.AppendVarint(append(t.b, wire), int64(id))
	}
	t.last[top] = id
}

// begin opens a structure that is an element of a list, or the outermost one.
func (t *thrift) begin() { t.last = append(t.last, 0) }

func (t *thrift) end() {
	t.b = append(t.b, 0)
	t.last = t.last[:len(t.last)-1]
}

func (t *thrift) open(id int16) {
	t.field(id, wireStruct)
	t.begin()
}

// empty writes a structure without fields, as the members of unions often are.
func (t *thrift) empty(id int16) {
	t.open(id)
	t.end()
}

func (t *thrift) i32(id int16, v int) {
	t.field(id, wireI32)
	t.b = binary.AppendVarint(t.b, int64(v))
}

func (t *thrift) i64(id int16, v int64) {
	t.field(id, wireI64)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *thrift) bool(id int16, v bool) {
	wire := byte(wireFalse)
	if v {
		wire = wireTrue
	}
	t.field(id, wire)
}

func (t *thrift) bytes(id int16, v []byte) {
	t.field(id, wireBinary)
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

func (t *thrift) list(id int16, wire byte, n int) {
	t.field(id, wireList)
	if n < 15 {
		t.b = append(t.b, byte(n)<<4|wire)
		return
	}
	t.b = binary.AppendUvarint(append(t.b, 0xf0|wire), uint64(n))
}

// Elements of lists.
func (t *thrift) item(v int)    { t.b = binary.AppendVarint(t.b, int64(v)) }
func (t *thrift) text(v string) { t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...) }
