// Package types is CQL's type system: what a column's type is called, how its
// values look on the wire, in a statement, in JSON and in a storage key, and
// how they compare.
//
// It stands between the parser and the statement executor: a constant of a
// statement or a bound value becomes wire bytes here, checked, and wire bytes
// become the clustering part of a storage key. The package is pure. Wire forms
// follow native_protocol_v4.spec, section 6; texts of errors are Cassandra's.
package types

import (
	"encoding/binary"
	"strings"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
)

// Kind is the class of a type.
type Kind uint8

// The classes. Varchar and Text are one type under two names.
const (
	Ascii Kind = iota + 1
	Bigint
	Blob
	Boolean
	Counter
	Date
	Decimal
	Double
	Duration
	Float
	Inet
	Int
	Smallint
	Text
	Time
	Timestamp
	Timeuuid
	Tinyint
	Uuid
	Varint
	List
	Set
	Map
	Tuple
	UDT
)

// MaxNesting is how deep types may nest; Amazon Keyspaces' quota is 8 levels.
const MaxNesting = 8

var kindNames = [...]string{
	Ascii: "ascii", Bigint: "bigint", Blob: "blob", Boolean: "boolean", Counter: "counter", Date: "date",
	Decimal: "decimal", Double: "double", Duration: "duration", Float: "float", Inet: "inet", Int: "int",
	Smallint: "smallint", Text: "text", Time: "time", Timestamp: "timestamp", Timeuuid: "timeuuid",
	Tinyint: "tinyint", Uuid: "uuid", Varint: "varint", List: "list", Set: "set", Map: "map", Tuple: "tuple", UDT: "udt",
}

// String is the class's name in CQL.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Type is a column's type. It does not change and is shared.
type Type struct {
	Kind Kind
	// Frozen values are one cell; list, set, map and UDT only. Tuples always are.
	Frozen bool
	// Args are the element type of a list or set, key and value of a map, the
	// components of a tuple, the fields of a UDT.
	Args []*Type
	// Keyspace, Name and Fields describe a UDT; Fields go with Args.
	Keyspace, Name string
	Fields         []string
}

// Scalar gives the type of a built-in scalar.
func Scalar(k Kind) *Type { return &scalars[k] }

var scalars = func() (s [UDT + 1]Type) {
	for k := range s {
		s[k].Kind = Kind(k)
	}
	return s
}()

// ListOf, SetOf, MapOf and TupleOf make collection types that are not frozen.
func ListOf(e *Type) *Type     { return &Type{Kind: List, Args: []*Type{e}} }
func SetOf(e *Type) *Type      { return &Type{Kind: Set, Args: []*Type{e}} }
func MapOf(k, v *Type) *Type   { return &Type{Kind: Map, Args: []*Type{k, v}} }
func TupleOf(c ...*Type) *Type { return &Type{Kind: Tuple, Args: c, Frozen: true} }
func (t *Type) Freeze() *Type {
	if t.Frozen || !(t.IsCollection() || t.Kind == UDT) {
		return t
	}
	f := *t
	f.Frozen = true
	return &f
}

// IsCollection reports whether t is a list, set or map.
func (t *Type) IsCollection() bool { return t.Kind == List || t.Kind == Set || t.Kind == Map }

// IsMultiCell reports whether a value of t is kept as several cells.
func (t *Type) IsMultiCell() bool { return !t.Frozen && (t.IsCollection() || t.Kind == UDT) }

// IsNumber reports whether t is a numeric type.
func (t *Type) IsNumber() bool {
	switch t.Kind {
	case Bigint, Counter, Decimal, Double, Float, Int, Smallint, Tinyint, Varint:
		return true
	}
	return false
}

// IsText reports whether t is text or ascii.
func (t *Type) IsText() bool { return t.Kind == Text || t.Kind == Ascii }

// String is the type in CQL, as system_schema shows it.
func (t *Type) String() string {
	var b strings.Builder
	t.write(&b)
	return b.String()
}

func (t *Type) write(b *strings.Builder) {
	frozen := t.Frozen && t.Kind != Tuple
	if t.Kind == Tuple || frozen {
		b.WriteString("frozen<")
	}
	switch t.Kind {
	case List, Set, Map, Tuple:
		b.WriteString(t.Kind.String())
		b.WriteByte('<')
		for i, a := range t.Args {
			if i > 0 {
				b.WriteString(", ")
			}
			a.write(b)
		}
		b.WriteByte('>')
	case UDT:
		b.WriteString(ast.QuoteIdent(t.Name))
	default:
		b.WriteString(t.Kind.String())
	}
	if t.Kind == Tuple || frozen {
		b.WriteByte('>')
	}
}

// Equal reports whether both are the same type; UDTs go by name.
func (t *Type) Equal(u *Type) bool {
	if t.Kind != u.Kind || t.IsMultiCell() != u.IsMultiCell() {
		return false
	}
	return t.sameValues(u)
}

// sameValues is Equal apart from being frozen.
func (t *Type) sameValues(u *Type) bool {
	if t.Kind != u.Kind || len(t.Args) != len(u.Args) || t.Keyspace != u.Keyspace || t.Name != u.Name {
		return false
	}
	for i := range t.Args {
		if !t.Args[i].sameValues(u.Args[i]) {
			return false
		}
	}
	return true
}

// Uses reports whether t is or contains the named UDT.
func (t *Type) Uses(keyspace, name string) bool {
	if t.Kind == UDT && t.Keyspace == keyspace && t.Name == name {
		return true
	}
	for _, a := range t.Args {
		if a.Uses(keyspace, name) {
			return true
		}
	}
	return false
}

// Has reports whether t is or contains a type of class k.
func (t *Type) Has(k Kind) bool {
	if t.Kind == k {
		return true
	}
	for _, a := range t.Args {
		if a.Has(k) {
			return true
		}
	}
	return false
}

// Lookup finds a UDT, not frozen; ok is false when there is none.
type Lookup func(keyspace, name string) (t *Type, ok bool)

// Resolve makes the type that a statement names. UDT names without a keyspace
// belong to keyspace. Errors are *cql.Error of code Invalid or Syntax.
func Resolve(n *ast.TypeName, keyspace string, udt Lookup) (*Type, error) {
	return resolve(n, keyspace, udt, 0)
}

func resolve(n *ast.TypeName, keyspace string, udt Lookup, depth int) (*Type, error) {
	if depth > MaxNesting {
		return nil, cql.Invalid("Types may be nested at most %d levels deep", MaxNesting)
	}
	switch n.Kind {
	case ast.NativeType:
		return native(n.Name)
	case ast.VectorType:
		return nil, cql.Invalid("Unknown type vector")
	case ast.CustomType:
		return nil, cql.Invalid("Unable to find abstract-type class '%s'", n.Name)
	case ast.UserType:
		ks := n.Keyspace
		if ks == "" {
			ks = keyspace
		}
		if ks != keyspace {
			return nil, cql.Invalid("Statement on keyspace %s cannot refer to a user type in keyspace %s; user types can only be used in the keyspace they are defined in", keyspace, ks)
		}
		t, ok := udt(ks, n.Name)
		if !ok {
			return nil, cql.Invalid("Unknown type %s.%s", ks, n.Name)
		}
		return t, nil
	case ast.FrozenType:
		t, err := resolve(n.Args[0], keyspace, udt, depth+1)
		if err != nil {
			return nil, err
		}
		if !t.IsCollection() && t.Kind != UDT && t.Kind != Tuple {
			return nil, cql.Invalid("frozen<> is only allowed on collections, tuples, and user-defined types (got %s)", t)
		}
		return t.deepFreeze(), nil
	}
	return resolveArgs(n, keyspace, udt, depth)
}

// deepFreeze freezes t and, as Cassandra does, the collections within it.
func (t *Type) deepFreeze() *Type {
	if len(t.Args) == 0 {
		return t
	}
	f := *t
	f.Frozen = true
	f.Args = make([]*Type, len(t.Args))
	for i, a := range t.Args {
		f.Args[i] = a.deepFreeze()
	}
	return &f
}

func resolveArgs(n *ast.TypeName, keyspace string, udt Lookup, depth int) (*Type, error) {
	t := &Type{Kind: map[ast.TypeKind]Kind{ast.ListType: List, ast.SetType: Set, ast.MapType: Map, ast.TupleType: Tuple}[n.Kind]}
	for i, a := range n.Args {
		e, err := resolve(a, keyspace, udt, depth+1)
		if err != nil {
			return nil, err
		}
		switch {
		case e.Kind == Counter:
			return nil, cql.Invalid("Counters are not allowed inside %s: %s", plural(t.Kind), ast.String(n))
		case e.Kind == Duration && (t.Kind == Set || t.Kind == Map && i == 0):
			return nil, cql.Invalid("Durations are not allowed %s: %s", map[Kind]string{Set: "inside sets", Map: "as map keys"}[t.Kind], ast.String(n))
		case t.Kind == Tuple:
			e = e.deepFreeze()
		case e.IsMultiCell() && e.Kind == UDT:
			return nil, cql.Invalid("Non-frozen UDTs are not allowed inside collections: %s", ast.String(n))
		case e.IsMultiCell():
			return nil, cql.Invalid("Non-frozen collections are not allowed inside collections: %s", ast.String(n))
		}
		t.Args = append(t.Args, e)
	}
	t.Frozen = t.Kind == Tuple
	return t, nil
}

func plural(k Kind) string {
	if k == Tuple {
		return "tuples"
	}
	return "collections"
}

func native(name string) (*Type, error) {
	if name == "varchar" {
		return Scalar(Text), nil
	}
	for k := Ascii; k <= Varint; k++ {
		if kindNames[k] == name {
			return Scalar(k), nil
		}
	}
	return nil, cql.Invalid("Unknown type %s", name)
}

// optionIDs are the codes of native_protocol_v4.spec, section 4.2.5.2.
var optionIDs = [...]uint16{
	Ascii: 0x01, Bigint: 0x02, Blob: 0x03, Boolean: 0x04, Counter: 0x05, Decimal: 0x06, Double: 0x07, Float: 0x08,
	Int: 0x09, Timestamp: 0x0B, Uuid: 0x0C, Text: 0x0D, Varint: 0x0E, Timeuuid: 0x0F, Inet: 0x10, Date: 0x11,
	Time: 0x12, Smallint: 0x13, Tinyint: 0x14, List: 0x20, Map: 0x21, Set: 0x22, UDT: 0x30, Tuple: 0x31, Duration: 0,
}

// classNames are the types that a protocol version may not know and are then
// written as custom types.
var classNames = map[Kind]string{
	Date: "SimpleDateType", Time: "TimeType", Smallint: "ShortType", Tinyint: "ByteType", Duration: "DurationType",
}

// AppendOption appends the type's [option]. Version 3 gets date, time, smallint
// and tinyint, and both versions get duration, as custom types by class name.
func (t *Type) AppendOption(dst []byte, v cql.ProtocolVersion) []byte {
	if class := classNames[t.Kind]; class != "" && (v < cql.Protocol4 || t.Kind == Duration) {
		dst = binary.BigEndian.AppendUint16(dst, 0)
		return appendShort(dst, "org.apache.cassandra.db.marshal."+class)
	}
	dst = binary.BigEndian.AppendUint16(dst, optionIDs[t.Kind])
	switch t.Kind {
	case UDT:
		dst = appendShort(appendShort(dst, t.Keyspace), t.Name)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Args)))
	case Tuple:
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Args)))
	}
	for i, a := range t.Args {
		if t.Kind == UDT {
			dst = appendShort(dst, t.Fields[i])
		}
		dst = a.AppendOption(dst, v)
	}
	return dst
}

func appendShort(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}
