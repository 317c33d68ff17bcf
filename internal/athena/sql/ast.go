package sql

// Pos is where a node stands in the text, from 1.
type Pos struct{ Line, Col int }

// Statement is one parsed statement.
type Statement struct {
	// Type and Substatement are what GetQueryExecution reports as StatementType
	// and SubstatementType.
	Type         string
	Substatement string
	Node         any // *Query, *Explain, *CreateTable, …
	Params       int // number of ?
}

// Name is a qualified name, lower-cased: catalog, database, table.
type Name struct {
	Parts []string
	Pos   Pos
}

// Last is the name's own part.
func (n Name) Last() string { return n.Parts[len(n.Parts)-1] }

// Query is a query with its WITH, ORDER BY and LIMIT.
type Query struct {
	Recursive bool
	With      []CTE
	Body      Body
	OrderBy   []SortItem
	Offset    Expr
	Limit     Expr // nil for none
	Pos       Pos
}

// CTE is a named query of WITH.
type CTE struct {
	Name    string
	Columns []string
	Query   *Query
	Pos     Pos
}

// Body is *Select, *SetOp, *Values, *TableBody or *Query (in parentheses).
type Body interface{}

// SetOp is UNION, INTERSECT or EXCEPT.
type SetOp struct {
	Op          string
	All         bool
	Left, Right Body
}

// Values is VALUES.
type Values struct{ Rows [][]Expr }

// TableBody is TABLE name.
type TableBody struct{ Name Name }

// Select is one SELECT.
type Select struct {
	Distinct bool
	Items    []SelectItem
	From     []Relation
	Where    Expr
	GroupBy  []GroupItem
	Having   Expr
	Windows  []NamedWindow
	Pos      Pos
}

// SelectItem is an expression with its alias, or a star.
type SelectItem struct {
	Expr      Expr
	Alias     string
	Star      bool
	Qualifier []string // of t.*
	Pos       Pos
}

// GroupItem is an element of GROUP BY.
type GroupItem struct {
	Kind string // "", "ROLLUP", "CUBE", "GROUPING SETS"
	Sets [][]Expr
}

// NamedWindow is an element of WINDOW.
type NamedWindow struct {
	Name   string
	Window *Window
}

// SortItem is an element of ORDER BY.
type SortItem struct {
	Expr  Expr
	Desc  bool
	Nulls string // "FIRST", "LAST" or ""
}

// Relation is *TableRef, *SubqueryRef, *Unnest, *Join, *Lateral.
type Relation interface{}

// TableRef is a table in FROM.
type TableRef struct {
	Name    Name
	Alias   string
	Columns []string
	Sample  string // BERNOULLI or SYSTEM
	Percent Expr
}

// SubqueryRef is a query in FROM; Lateral may refer to what stands before it.
type SubqueryRef struct {
	Query   *Query
	Lateral bool
	Alias   string
	Columns []string
}

// Unnest is UNNEST in FROM.
type Unnest struct {
	Args       []Expr
	Ordinality bool
	Alias      string
	Columns    []string
	Pos        Pos
}

// Join joins two relations.
type Join struct {
	Kind        string // INNER, LEFT, RIGHT, FULL, CROSS
	Natural     bool
	Left, Right Relation
	On          Expr
	Using       []string
}

// Expr is an expression.
type Expr interface{ pos() Pos }

type (
	// Literal is a constant. Kind is NULL, BOOLEAN, STRING, INTEGER, DECIMAL,
	// DOUBLE, BINARY, or the type of a typed literal (DATE, TIMESTAMP, …).
	Literal struct {
		Kind, Text string
		At         Pos
	}
	// Interval is INTERVAL '1' DAY.
	Interval struct {
		Text, Unit, To string
		Negative       bool
		At             Pos
	}
	// Ref is a column or a chain of fields.
	Ref struct {
		Parts []string
		At    Pos
	}
	// Field is a field of an expression that is no name.
	Field struct {
		Base Expr
		Name string
		At   Pos
	}
	// Call is a function call.
	Call struct {
		Name        string // lower-case
		Args        []Expr
		Star        bool
		Distinct    bool
		OrderBy     []SortItem
		Filter      Expr
		Over        *Window
		OverName    string
		IgnoreNulls bool
		Within      []SortItem
		At          Pos
	}
	// Unary is -, + or NOT.
	Unary struct {
		Op string
		X  Expr
		At Pos
	}
	// Binary is an operator of two operands, AND and OR among them.
	Binary struct {
		Op   string
		L, R Expr
		At   Pos
	}
	// Between is BETWEEN.
	Between struct {
		X, Lo, Hi Expr
		Not       bool
		At        Pos
	}
	// In is IN with a list or a query.
	In struct {
		X     Expr
		List  []Expr
		Query *Query
		Not   bool
		At    Pos
	}
	// Like is LIKE.
	Like struct {
		X, Pattern, Escape Expr
		Not                bool
		At                 Pos
	}
	// IsNull is IS NULL.
	IsNull struct {
		X   Expr
		Not bool
		At  Pos
	}
	// Distinct is IS DISTINCT FROM.
	Distinct struct {
		L, R Expr
		Not  bool
		At   Pos
	}
	// Case is CASE.
	Case struct {
		X     Expr
		Whens []When
		Else  Expr
		At    Pos
	}
	// Cast is CAST or TRY_CAST.
	Cast struct {
		X   Expr
		To  Type
		Try bool
		At  Pos
	}
	// Scalar is a query as a value.
	Scalar struct {
		Query *Query
		At    Pos
	}
	// Exists is EXISTS.
	Exists struct {
		Query *Query
		At    Pos
	}
	// Quantified is = ANY (query) and its kin.
	Quantified struct {
		X     Expr
		Op    string
		All   bool
		Query *Query
		At    Pos
	}
	// Lambda is x -> e.
	Lambda struct {
		Params []string
		Body   Expr
		At     Pos
	}
	// Array is ARRAY[…].
	Array struct {
		Items []Expr
		At    Pos
	}
	// Row is ROW(…) or (a, b).
	Row struct {
		Items []Expr
		At    Pos
	}
	// Subscript is a[i].
	Subscript struct {
		X, Index Expr
		At       Pos
	}
	// AtTimeZone is AT TIME ZONE.
	AtTimeZone struct {
		X, Zone Expr
		At      Pos
	}
	// Extract is EXTRACT(unit FROM x).
	Extract struct {
		Unit string
		X    Expr
		At   Pos
	}
	// Param is ?.
	Param struct {
		Index int
		At    Pos
	}
)

// When is a branch of CASE.
type When struct{ Cond, Then Expr }

// Window is an OVER specification.
type Window struct {
	Base        string
	PartitionBy []Expr
	OrderBy     []SortItem
	Frame       string // ROWS, RANGE, GROUPS, or ""
	Start, End  Bound
}

// Bound is one end of a frame.
type Bound struct {
	Kind string // "UNBOUNDED PRECEDING", "CURRENT ROW", "PRECEDING", "FOLLOWING", …
	N    Expr
}

func (e *Literal) pos() Pos    { return e.At }
func (e *Interval) pos() Pos   { return e.At }
func (e *Ref) pos() Pos        { return e.At }
func (e *Field) pos() Pos      { return e.At }
func (e *Call) pos() Pos       { return e.At }
func (e *Unary) pos() Pos      { return e.At }
func (e *Binary) pos() Pos     { return e.At }
func (e *Between) pos() Pos    { return e.At }
func (e *In) pos() Pos         { return e.At }
func (e *Like) pos() Pos       { return e.At }
func (e *IsNull) pos() Pos     { return e.At }
func (e *Distinct) pos() Pos   { return e.At }
func (e *Case) pos() Pos       { return e.At }
func (e *Cast) pos() Pos       { return e.At }
func (e *Scalar) pos() Pos     { return e.At }
func (e *Exists) pos() Pos     { return e.At }
func (e *Quantified) pos() Pos { return e.At }
func (e *Lambda) pos() Pos     { return e.At }
func (e *Array) pos() Pos      { return e.At }
func (e *Row) pos() Pos        { return e.At }
func (e *Subscript) pos() Pos  { return e.At }
func (e *AtTimeZone) pos() Pos { return e.At }
func (e *Extract) pos() Pos    { return e.At }
func (e *Param) pos() Pos      { return e.At }

// Statements other than queries.
type (
	// Explain is EXPLAIN of a query.
	Explain struct {
		Query   *Query
		Analyze bool
	}
	// CreateDatabase is CREATE DATABASE or SCHEMA.
	CreateDatabase struct {
		Name              string
		IfNotExists       bool
		Comment, Location string
		Properties        map[string]string
	}
	// DropDatabase is DROP DATABASE or SCHEMA.
	DropDatabase struct {
		Name     string
		IfExists bool
		Cascade  bool
	}
	// CreateTable is Hive's CREATE EXTERNAL TABLE.
	CreateTable struct {
		Name         Name
		IfNotExists  bool
		Columns      []Column
		Comment      string
		PartitionBy  []Column
		Serde        string // class name, "" for ROW FORMAT DELIMITED or none
		SerdeProps   map[string]string
		Delimited    *Delimited
		StoredAs     string // PARQUET, TEXTFILE, …; "" when formats are given
		InputFormat  string
		OutputFormat string
		Location     string
		Properties   map[string]string
	}
	// DropTable is DROP TABLE.
	DropTable struct {
		Name     Name
		IfExists bool
	}
	// AlterTable is ALTER TABLE of one kind.
	AlterTable struct {
		Name        Name
		Kind        string // ADD PARTITION, DROP PARTITION, SET LOCATION, SET TBLPROPERTIES, ADD COLUMNS, REPLACE COLUMNS
		IfNotExists bool   // or IF EXISTS
		Partitions  []Partition
		Columns     []Column
		Location    string
		Properties  map[string]string
	}
	// Repair is MSCK REPAIR TABLE.
	Repair struct{ Name Name }
	// Show is SHOW of one kind: TABLES, DATABASES, COLUMNS, PARTITIONS, CREATE
	// TABLE, TBLPROPERTIES, VIEWS.
	Show struct {
		Kind     string
		Name     Name   // the table, if any
		Database string // of TABLES and VIEWS
		Pattern  string
	}
	// Describe is DESCRIBE.
	Describe struct {
		Name     Name
		Extended bool
	}
	// Unsupported is a statement that Athena has and this server does not run;
	// the query fails with NOT_SUPPORTED.
	Unsupported struct{ What string }
)

// Delimited is ROW FORMAT DELIMITED.
type Delimited struct {
	Field, Escape, Collection, MapKey, Line, Null string
}

// Partition is the values and the location of a partition.
type Partition struct {
	Values   map[string]string
	Location string
}

// walk calls fn for an expression and all below it, queries excepted.
func walk(e Expr, fn func(Expr)) {
	if e == nil {
		return
	}
	fn(e)
	each := func(es ...Expr) {
		for _, x := range es {
			if x != nil {
				walk(x, fn)
			}
		}
	}
	switch x := e.(type) {
	case *Field:
		each(x.Base)
	case *Unary:
		each(x.X)
	case *Binary:
		each(x.L, x.R)
	case *Between:
		each(x.X, x.Lo, x.Hi)
	case *In:
		each(x.X)
		each(x.List...)
	case *Like:
		each(x.X, x.Pattern, x.Escape)
	case *IsNull:
		each(x.X)
	case *Distinct:
		each(x.L, x.R)
	case *Case:
		each(x.X, x.Else)
		for _, c := range x.Whens {
			each(c.Cond, c.Then)
		}
	case *Cast:
		each(x.X)
	case *Lambda:
		each(x.Body)
	case *Array:
		each(x.Items...)
	case *Row:
		each(x.Items...)
	case *Subscript:
		each(x.X, x.Index)
	case *AtTimeZone:
		each(x.X, x.Zone)
	case *Extract:
		each(x.X)
	case *Call:
		each(x.Args...)
		each(x.Filter)
	}
}
