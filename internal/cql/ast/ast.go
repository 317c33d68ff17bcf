// Package ast is the syntax tree of a CQL statement (CQL 3.4, Cassandra 3.11
// and 4.0, with Amazon Keyspaces' additions).
//
// The parser makes it, the server keeps it with a prepared statement, and the
// statement handler, the authoriser and the recorder read it. A tree does not
// change after parsing, so one may be shared by concurrent executions. Names
// are already folded: an unquoted identifier is lower case, a quoted one as
// written without its quotes.
//
// Every node prints itself back as CQL that parses to an equal tree
// (positions aside).
package ast

// Pos is a place in the statement's text.
type Pos struct {
	Offset int32 // bytes from the start, from 0
	Line   int32 // from 1
	Col    int32 // bytes from the line's start, from 0, as Cassandra counts
}

// Position returns p; nodes that embed Pos get it as their method.
func (p Pos) Position() Pos { return p }

// Node is any part of a tree.
type Node interface {
	Position() Pos
	// AppendCQL appends the node's normalised CQL to dst: keywords upper case,
	// one space between tokens, identifiers quoted only where they must be.
	AppendCQL(dst []byte) []byte
}

// String is a node's normalised CQL.
func String(n Node) string { return string(n.AppendCQL(nil)) }

// Statement is a node that can be executed by itself.
type Statement interface {
	Node
	statement()
}

// Parsed is a statement with its text and the bind markers in it, in order of
// appearance; Markers[i].Index == i.
type Parsed struct {
	Text      string
	Statement Statement
	Markers   []*BindMarker
}

// Name is an identifier with its place.
type Name struct {
	Pos
	Text string
}

// QualifiedName is the name of a table, type, index or view. Keyspace is empty
// when the statement names none; then the request's keyspace holds.
type QualifiedName struct {
	Pos
	Keyspace, Name string
}

// Expr is a value or a selected expression.
type Expr interface {
	Node
	expr()
}

// LiteralKind is the lexical form of a constant.
type LiteralKind uint8

// The forms of constants. Coercion to a column's type is not the tree's
// business: an IntegerLiteral may become a bigint, a varint, a timestamp.
const (
	NullLiteral     LiteralKind = iota
	StringLiteral               // Text without quotes, escapes resolved
	IntegerLiteral              // Text with its sign, any length
	FloatLiteral                // Text with its sign and exponent; also NaN, Infinity, -NaN, -Infinity
	BooleanLiteral              // Text "true" or "false"
	UUIDLiteral                 // Text as written
	BlobLiteral                 // Text with 0x, as written
	DurationLiteral             // Text as written: 1h30m, P1Y2M, -2w
)

// Literal is a constant, uninterpreted.
type Literal struct {
	Pos
	Kind LiteralKind
	Text string
}

// BindMarker stands for a value that the request carries.
type BindMarker struct {
	Pos
	Index int    // place among the statement's markers, from 0
	Name  string // empty for ?
}

// ListLiteral is [a, b].
type ListLiteral struct {
	Pos
	Items []Expr
}

// SetLiteral is {a, b}. The empty literal {} is a SetLiteral without items and
// also stands for an empty map.
type SetLiteral struct {
	Pos
	Items []Expr
}

// MapLiteral is {k: v, …}, with at least one entry.
type MapLiteral struct {
	Pos
	Entries []MapEntry
}

// MapEntry is one k: v.
type MapEntry struct{ Key, Value Expr }

// TupleLiteral is (a, b). With one item it may also be a parenthesised value.
type TupleLiteral struct {
	Pos
	Items []Expr
}

// UDTLiteral is {field: value, …}.
type UDTLiteral struct {
	Pos
	Fields []UDTField
}

// UDTField is one field: value.
type UDTField struct {
	Name  Name
	Value Expr
}

// FunctionCall is f(args), with an optional keyspace. Name is as folded by the
// identifier rule. COUNT(*) is Star.
type FunctionCall struct {
	Pos
	Keyspace, Name string
	Args           []Expr
	Star           bool // count(*) or count(1): Args is empty
}

// TypeHint is (type) value.
type TypeHint struct {
	Pos
	Type  *TypeName
	Value Expr
}

// Cast is CAST(expr AS type).
type Cast struct {
	Pos
	Value Expr
	Type  *TypeName
}

// BinaryOp is left op right, op one of + - * / %.
type BinaryOp struct {
	Pos
	Op          byte
	Left, Right Expr
}

// Negation is -expr where expr is not a number literal.
type Negation struct {
	Pos
	Value Expr
}

// ColumnRef is a column in a selection.
type ColumnRef struct {
	Pos
	Name string
}

// ColumnMeta is WRITETIME(column) or TTL(column). Of is the column, or an
// element or field of it.
type ColumnMeta struct {
	Pos
	TTL bool // false: WRITETIME
	Of  Expr
}

// Element is of[key].
type Element struct {
	Pos
	Of, Key Expr
}

// Slice is of[from..to]; From and To may be nil.
type Slice struct {
	Pos
	Of, From, To Expr
}

// Field is of.name.
type Field struct {
	Pos
	Of   Expr
	Name string
}

func (*Literal) expr()      {}
func (*BindMarker) expr()   {}
func (*ListLiteral) expr()  {}
func (*SetLiteral) expr()   {}
func (*MapLiteral) expr()   {}
func (*TupleLiteral) expr() {}
func (*UDTLiteral) expr()   {}
func (*FunctionCall) expr() {}
func (*TypeHint) expr()     {}
func (*Cast) expr()         {}
func (*BinaryOp) expr()     {}
func (*Negation) expr()     {}
func (*ColumnRef) expr()    {}
func (*ColumnMeta) expr()   {}
func (*Element) expr()      {}
func (*Slice) expr()        {}
func (*Field) expr()        {}

// TypeKind is the syntactic class of a type name.
type TypeKind uint8

// The classes of type names.
const (
	NativeType TypeKind = iota // Name is one of the built-in scalar types, lower case
	ListType                   // Args: element
	SetType                    // Args: element
	MapType                    // Args: key, value
	TupleType                  // Args: components
	FrozenType                 // Args: the frozen type
	VectorType                 // Args: element; Dimension
	UserType                   // Keyspace (may be empty) and Name
	CustomType                 // Name is the class name of a 'class' literal
)

// TypeName is a type as written.
type TypeName struct {
	Pos
	Kind      TypeKind
	Keyspace  string
	Name      string
	Args      []*TypeName
	Dimension int // vectors only, from 1
}
