package ast

// Select is SELECT.
type Select struct {
	Pos
	Distinct bool
	JSON     bool
	// Selectors is empty for SELECT *.
	Selectors         []Selector
	Table             QualifiedName
	Where             []*Relation
	GroupBy           []Name
	OrderBy           []Ordering
	PerPartitionLimit Expr // nil when absent; an IntegerLiteral or BindMarker
	Limit             Expr // as PerPartitionLimit
	AllowFiltering    bool
}

// Selector is one selected expression. Alias is empty without AS.
type Selector struct {
	Expr  Expr
	Alias string
}

// Ordering is one column of ORDER BY.
type Ordering struct {
	Column Name
	Desc   bool
}

// Operator is the operator of a relation or condition.
type Operator uint8

// The operators.
const (
	OpEq Operator = iota
	OpNe
	OpLt
	OpLe
	OpGt
	OpGe
	OpIn
	OpContains
	OpContainsKey
	OpLike
	OpIsNotNull
)

var operatorTexts = [...]string{"=", "!=", "<", "<=", ">", ">=", "IN", "CONTAINS", "CONTAINS KEY", "LIKE", "IS NOT NULL"}

// String is the operator in CQL.
func (o Operator) String() string {
	if int(o) < len(operatorTexts) {
		return operatorTexts[o]
	}
	return "?"
}

// RelationKind says what stands left of a relation's operator.
type RelationKind uint8

// The left sides.
const (
	ColumnRelation  RelationKind = iota // c op v
	TupleRelation                       // (c, d) op (v, w)
	TokenRelation                       // token(c, d) op v
	ElementRelation                     // c[key] op v
	FieldRelation                       // c.field op v; only in IF
)

// Relation is one restriction of WHERE, or one condition of IF.
type Relation struct {
	Pos
	Kind RelationKind
	// Columns are the columns named on the left: one for ColumnRelation,
	// ElementRelation and FieldRelation, one or more for the others.
	Columns []Name
	Key     Expr   // ElementRelation
	Field   string // FieldRelation
	Op      Operator
	// Value is the right side; nil for IN with a list and for IS NOT NULL.
	// With IN it is the BindMarker of the whole list.
	Value Expr
	// List are the items of IN (…); nil when Value is a marker, not nil and
	// empty for IN ().
	List []Expr
}

// Using are the options of a modification: nil when absent, else an
// IntegerLiteral or a BindMarker.
type Using struct {
	Timestamp Expr // microseconds since the epoch
	TTL       Expr // seconds
}

// Insert is INSERT. Columns and Values have the same length; both are nil for
// INSERT … JSON.
type Insert struct {
	Pos
	Table   QualifiedName
	Columns []Name
	Values  []Expr
	// JSON is the document of INSERT … JSON: a StringLiteral or BindMarker.
	JSON Expr
	// DefaultUnset leaves columns that the document omits as they are.
	DefaultUnset bool
	IfNotExists  bool
	Using        Using
}

// AssignKind is the form of an assignment.
type AssignKind uint8

// The forms of assignments.
const (
	Assign         AssignKind = iota // c = v
	AssignAdd                        // c = c + v, c += v
	AssignSubtract                   // c = c - v, c -= v
	AssignPrepend                    // c = v + c
	AssignElement                    // c[key] = v
	AssignField                      // c.field = v
)

// Assignment is one assignment of UPDATE … SET.
type Assignment struct {
	Pos
	Kind   AssignKind
	Column Name
	Key    Expr   // AssignElement
	Field  string // AssignField
	Value  Expr
}

// Update is UPDATE.
type Update struct {
	Pos
	Table       QualifiedName
	Using       Using
	Assignments []*Assignment
	Where       []*Relation
	If          []*Relation
	IfExists    bool
}

// Deletion is one thing that DELETE names: a column, an element or a field.
type Deletion struct {
	Pos
	Column string
	Key    Expr   // not nil: column[key]
	Field  string // not empty: column.field
}

// Delete is DELETE. Without Columns it deletes rows. Using.TTL is never set.
type Delete struct {
	Pos
	Columns  []Deletion
	Table    QualifiedName
	Using    Using
	Where    []*Relation
	If       []*Relation
	IfExists bool
}

// BatchKind is the kind of a batch; its values are those of the BATCH message.
type BatchKind uint8

// The kinds of batches.
const (
	LoggedBatch BatchKind = iota
	UnloggedBatch
	CounterBatch
)

// Batch is BEGIN BATCH … APPLY BATCH. Statements are *Insert, *Update and
// *Delete; there may be none.
type Batch struct {
	Pos
	Kind       BatchKind
	Using      Using // Timestamp only
	Statements []Statement
}

func (*Select) statement() {}
func (*Insert) statement() {}
func (*Update) statement() {}
func (*Delete) statement() {}
func (*Batch) statement()  {}
