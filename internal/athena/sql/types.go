package sql

import (
	"strconv"
	"strings"
)

// Type is a Trino type. The zero Type is unknown.
type Type struct {
	Name   string // lower-case: varchar, bigint, timestamp, array, map, row …
	Params []int  // of varchar(n), decimal(p,s), timestamp(p)
	Elems  []Type // of array, map and row
	Fields []string
}

// Column is a column of a table.
type Column struct {
	Name    string // lower-case
	Type    Type
	Hive    string // the type as it was declared, for DESCRIBE
	Comment string
	Prefix  Prefix // none without a Column
}

func simple(name string) Type { return Type{Name: name} }

// Known reports whether the type is known.
func (t Type) Known() bool { return t.Name != "" }

func (t Type) isText() bool { return t.Name == "varchar" || t.Name == "char" }

func (t Type) isNumber() bool {
	switch t.Name {
	case "tinyint", "smallint", "integer", "bigint", "real", "double", "decimal":
		return true
	}
	return false
}

func (t Type) isInteger() bool {
	switch t.Name {
	case "tinyint", "smallint", "integer", "bigint":
		return true
	}
	return false
}

func (t Type) isTime() bool {
	return t.Name == "date" || strings.HasPrefix(t.Name, "timestamp")
}

// String is the type in Trino's spelling.
func (t Type) String() string {
	switch t.Name {
	case "":
		return "unknown"
	case "array":
		return "array(" + t.Elems[0].String() + ")"
	case "map":
		return "map(" + t.Elems[0].String() + ", " + t.Elems[1].String() + ")"
	case "row":
		parts := make([]string, len(t.Elems))
		for i, e := range t.Elems {
			parts[i] = e.String()
			if i < len(t.Fields) && t.Fields[i] != "" {
				parts[i] = t.Fields[i] + " " + parts[i]
			}
		}
		return "row(" + strings.Join(parts, ", ") + ")"
	}
	if len(t.Params) == 0 {
		return t.Name
	}
	ps := make([]string, len(t.Params))
	for i, p := range t.Params {
		ps[i] = strconv.Itoa(p)
	}
	if zone, ok := strings.CutPrefix(t.Name, "timestamp "); ok {
		return "timestamp(" + ps[0] + ") " + zone
	}
	return t.Name + "(" + strings.Join(ps, ",") + ")"
}

// DuckDB is the type in DuckDB's spelling.
func (t Type) DuckDB() string {
	switch t.Name {
	case "varchar", "char", "string":
		return "VARCHAR"
	case "integer", "int":
		return "INTEGER"
	case "real", "float":
		return "FLOAT"
	case "varbinary", "binary":
		return "BLOB"
	case "timestamp":
		return "TIMESTAMP"
	case "timestamp with time zone":
		return "TIMESTAMPTZ"
	case "decimal":
		if len(t.Params) == 2 {
			return "DECIMAL(" + strconv.Itoa(t.Params[0]) + "," + strconv.Itoa(t.Params[1]) + ")"
		}
		return "DECIMAL(38,0)"
	case "array":
		return t.Elems[0].DuckDB() + "[]"
	case "map":
		return "MAP(" + t.Elems[0].DuckDB() + ", " + t.Elems[1].DuckDB() + ")"
	case "row":
		parts := make([]string, len(t.Elems))
		for i, e := range t.Elems {
			parts[i] = quoteIdent(t.fieldName(i)) + " " + e.DuckDB()
		}
		return "STRUCT(" + strings.Join(parts, ", ") + ")"
	case "json":
		return "JSON"
	case "":
		return "VARCHAR"
	}
	return strings.ToUpper(t.Name)
}

// textForJSON is the type with varchar for each JSON inside it, and whether
// there is one.
func (t Type) textForJSON() (Type, bool) {
	if t.Name == "json" {
		return simple("varchar"), true
	}
	found := false
	elems := make([]Type, len(t.Elems))
	for i, e := range t.Elems {
		var has bool
		elems[i], has = e.textForJSON()
		found = found || has
	}
	t.Elems = elems
	return t, found
}

// fieldName is a row's field name; unnamed fields get one, since DuckDB's do.
func (t Type) fieldName(i int) string {
	if i < len(t.Fields) && t.Fields[i] != "" {
		return t.Fields[i]
	}
	return "field" + strconv.Itoa(i)
}

func (t Type) field(name string) (Type, bool) {
	for i, f := range t.Fields {
		if strings.EqualFold(f, name) {
			return t.Elems[i], true
		}
	}
	return Type{}, false
}

func quoteIdent(s string) string  { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func quoteString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
