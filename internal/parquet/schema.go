package parquet

import "slices"

// Kind is what a column or a part of one holds.
type Kind int

// The kinds.
const (
	Text      Kind = iota // UTF-8
	Bool                  // one byte, 0 or 1
	Timestamp             // microseconds since 1970, eight bytes, little-endian; no time zone
	Struct                // its Children are the fields
	List                  // its one child is the element
	Map                   // its Children are key and value
)

// Node is a column or a part of one. All may be NULL but a map's keys.
type Node struct {
	Name     string
	Kind     Kind
	Children []*Node

	// Def is the definition level of a value that is there (of a List or Map: of
	// an empty one), Rep the repetition level of what is below it. First and
	// Last are the leaves of the node: [First, Last).
	Def, Rep    uint8
	First, Last int
}

// The physical types, converted types, and repetitions of the format.
const (
	typeBoolean, typeInt64, typeByteArray                      = 0, 2, 6
	convertedUTF8, convertedMap, convertedList, convertedMicro = 0, 1, 3, 10
	required, optional, repeated                               = 0, 1, 2
)

func (k Kind) physical() int {
	switch k {
	case Bool:
		return typeBoolean
	case Timestamp:
		return typeInt64
	}
	return typeByteArray
}

// schema numbers the nodes' levels and makes their leaves and schema elements.
type schema struct {
	z        *compressor
	leaves   []*Leaf
	elements int
	t        thrift
}

func (s *schema) element(name string, repetition, children int, rest func()) {
	s.elements++
	t := &s.t
	t.begin()
	if repetition != required || children > 0 {
		t.i32(3, repetition)
	}
	t.bytes(4, []byte(name))
	if children > 0 {
		t.i32(5, children)
	}
	if rest != nil {
		rest()
	}
	t.end()
}

func (s *schema) add(n *Node, path []string, def, rep uint8, isRequired bool) {
	repetition := optional
	if isRequired {
		repetition = required
	} else {
		def++
	}
	path = append(path[:len(path):len(path)], n.Name)
	n.Def, n.Rep, n.First = def, rep, len(s.leaves)
	switch n.Kind {
	case Struct:
		s.element(n.Name, repetition, len(n.Children), nil)
		for _, c := range n.Children {
			s.add(c, path, def, rep, false)
		}
	case List:
		s.element(n.Name, repetition, 1, func() { s.t.i32(6, convertedList) })
		s.element("list", repeated, 1, nil)
		n.Rep++
		n.Children[0].Name = "element"
		s.add(n.Children[0], append(path, "list"), def+1, rep+1, false)
	case Map:
		s.element(n.Name, repetition, 1, func() { s.t.i32(6, convertedMap) })
		s.element("key_value", repeated, 2, nil)
		n.Rep++
		n.Children[0].Name, n.Children[1].Name = "key", "value"
		path = append(path, "key_value")
		s.add(n.Children[0], path, def+1, rep+1, true)
		s.add(n.Children[1], path, def+1, rep+1, false)
	default:
		s.scalar(n, repetition)
		s.leaves = append(s.leaves, newLeaf(s.z, n.Kind, slices.Clone(path), def, rep))
	}
	n.Last = len(s.leaves)
}

func (s *schema) scalar(n *Node, repetition int) {
	s.elements++
	t := &s.t
	t.begin()
	t.i32(1, n.Kind.physical())
	t.i32(3, repetition)
	t.bytes(4, []byte(n.Name))
	switch n.Kind {
	case Text:
		t.i32(6, convertedUTF8)
	case Timestamp:
		t.i32(6, convertedMicro)
		t.open(10)
		t.open(8) // TIMESTAMP
		t.bool(1, false)
		t.open(2)
		t.empty(2) // MICROS
		t.end()
		t.end()
		t.end()
	}
	t.end()
}
