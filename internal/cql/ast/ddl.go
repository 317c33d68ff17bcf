package ast

// Use is USE keyspace.
type Use struct {
	Pos
	Keyspace string
}

// Property is one name = value of a WITH clause. Name is lower case. Value is
// a *Literal, a *MapLiteral (whose values may be literals, lists and maps
// again), a *SetLiteral (the empty map), or a *ListLiteral.
type Property struct {
	Pos
	Name  string
	Value Expr
}

// CreateKeyspace is CREATE KEYSPACE. REPLICATION, DURABLE_WRITES and TAGS are
// among the Properties.
type CreateKeyspace struct {
	Pos
	IfNotExists bool
	Name        string
	Properties  []Property
}

// TagChange is ADD TAGS or DROP TAGS, Amazon Keyspaces' addition to ALTER
// KEYSPACE and ALTER TABLE.
type TagChange uint8

// The tag changes.
const (
	NoTagChange TagChange = iota
	AddTags
	DropTags
)

// AlterKeyspace is ALTER KEYSPACE: either Properties or a change of tags.
type AlterKeyspace struct {
	Pos
	IfExists   bool
	Name       string
	Properties []Property
	TagChange  TagChange
	Tags       *MapLiteral
}

// DropKeyspace is DROP KEYSPACE.
type DropKeyspace struct {
	Pos
	IfExists bool
	Name     string
}

// ColumnDef defines a column.
type ColumnDef struct {
	Name   Name
	Type   *TypeName
	Static bool
}

// ClusteringOrder is one column of CLUSTERING ORDER BY.
type ClusteringOrder = Ordering

// TableOptions are what follows WITH in CREATE TABLE and MATERIALIZED VIEW.
type TableOptions struct {
	Properties      []Property
	ClusteringOrder []ClusteringOrder
	CompactStorage  bool
}

// CreateTable is CREATE TABLE. The parser has resolved the inline PRIMARY KEY
// form. With several PRIMARY KEY clauses the first one's columns are kept.
type CreateTable struct {
	Pos
	IfNotExists   bool
	Table         QualifiedName
	Columns       []ColumnDef
	PartitionKey  []Name
	ClusteringKey []Name
	Options       TableOptions
	// PrimaryKeys is how many PRIMARY KEY clauses were written, inline or not.
	// Only 1 is valid; refusing the rest is the executor's, with Cassandra's text.
	PrimaryKeys int
}

// AlterTableKind is what an ALTER TABLE does.
type AlterTableKind uint8

// What ALTER TABLE does.
const (
	AlterTableAdd         AlterTableKind = iota // Columns
	AlterTableDrop                              // Drop, Timestamp
	AlterTableRename                            // Renames
	AlterTableWith                              // Options
	AlterTableType                              // Columns[0]: name and new type
	AlterTableAddTags                           // Tags
	AlterTableDropTags                          // Tags
	AlterTableDropCompact                       // DROP COMPACT STORAGE
)

// Rename is one a TO b.
type Rename struct{ From, To Name }

// AlterTable is ALTER TABLE.
type AlterTable struct {
	Pos
	IfExists          bool
	Table             QualifiedName
	Kind              AlterTableKind
	IfNotExistsColumn bool // ADD IF NOT EXISTS
	IfExistsColumn    bool // DROP, RENAME IF EXISTS
	Columns           []ColumnDef
	Drop              []Name
	Timestamp         Expr // DROP … USING TIMESTAMP; nil when absent
	Renames           []Rename
	Options           TableOptions
	Tags              *MapLiteral
}

// DropTable is DROP TABLE.
type DropTable struct {
	Pos
	IfExists bool
	Table    QualifiedName
}

// RestoreTable is Amazon Keyspaces' RESTORE TABLE target FROM TABLE source.
type RestoreTable struct {
	Pos
	Target, Source QualifiedName
	Properties     []Property
}

// Truncate is TRUNCATE [TABLE].
type Truncate struct {
	Pos
	Table QualifiedName
}

// FieldDef is a field of a user-defined type.
type FieldDef struct {
	Name Name
	Type *TypeName
}

// CreateType is CREATE TYPE.
type CreateType struct {
	Pos
	IfNotExists bool
	Type        QualifiedName
	Fields      []FieldDef
}

// AlterTypeKind is what an ALTER TYPE does.
type AlterTypeKind uint8

// What ALTER TYPE does.
const (
	AlterTypeAdd    AlterTypeKind = iota // Fields
	AlterTypeField                       // Fields[0]: name and new type
	AlterTypeRename                      // Renames
)

// AlterType is ALTER TYPE.
type AlterType struct {
	Pos
	IfExists bool
	Type     QualifiedName
	Kind     AlterTypeKind
	Fields   []FieldDef
	Renames  []Rename
}

// DropType is DROP TYPE.
type DropType struct {
	Pos
	IfExists bool
	Type     QualifiedName
}

// IndexTarget is what an index covers. Func is "", "keys", "values", "entries"
// or "full".
type IndexTarget struct {
	Func   string
	Column Name
}

// CreateIndex is CREATE [CUSTOM] INDEX. Name may be empty.
type CreateIndex struct {
	Pos
	Custom      bool
	IfNotExists bool
	Name        string
	Table       QualifiedName
	Targets     []IndexTarget
	Class       string // USING 'class'; empty when absent
	Properties  []Property
}

// DropIndex is DROP INDEX.
type DropIndex struct {
	Pos
	IfExists bool
	Index    QualifiedName
}

// CreateView is CREATE MATERIALIZED VIEW.
type CreateView struct {
	Pos
	IfNotExists   bool
	View          QualifiedName
	Selectors     []Selector // empty for *
	Base          QualifiedName
	Where         []*Relation
	PartitionKey  []Name
	ClusteringKey []Name
	Options       TableOptions
}

// AlterView is ALTER MATERIALIZED VIEW.
type AlterView struct {
	Pos
	IfExists bool
	View     QualifiedName
	Options  TableOptions
}

// DropView is DROP MATERIALIZED VIEW.
type DropView struct {
	Pos
	IfExists bool
	View     QualifiedName
}

// Administrative is a statement of Cassandra that this endpoint knows by name
// only, because Amazon Keyspaces refuses it: roles and users, permissions,
// functions, aggregates, triggers, DESCRIBE. Its details are not kept: a role
// statement may hold a password.
type Administrative struct {
	Pos
	// Verb is what is done, upper case: "CREATE", "ALTER", "DROP", "LIST",
	// "GRANT", "REVOKE", "DESCRIBE".
	Verb string
	// Object is what it is done to, upper case: "ROLE", "USER", "FUNCTION",
	// "AGGREGATE", "TRIGGER", "ROLES", "USERS", "PERMISSIONS"; empty for
	// DESCRIBE.
	Object string
}

func (*Use) statement()            {}
func (*CreateKeyspace) statement() {}
func (*AlterKeyspace) statement()  {}
func (*DropKeyspace) statement()   {}
func (*CreateTable) statement()    {}
func (*AlterTable) statement()     {}
func (*DropTable) statement()      {}
func (*RestoreTable) statement()   {}
func (*Truncate) statement()       {}
func (*CreateType) statement()     {}
func (*AlterType) statement()      {}
func (*DropType) statement()       {}
func (*CreateIndex) statement()    {}
func (*DropIndex) statement()      {}
func (*CreateView) statement()     {}
func (*AlterView) statement()      {}
func (*DropView) statement()       {}
func (*Administrative) statement() {}
