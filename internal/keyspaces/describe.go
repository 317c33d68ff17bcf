package keyspaces

import (
	"unicode/utf8"

	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
	"spoor/internal/record"
)

const (
	eventSource = "cassandra.amazonaws.com"
	hidden      = "**(Redacted)"
)

// eventNames are the names of the developer guide's table of events; statements
// that Keyspaces refuses go under the names of their kind.
func eventName(stmt ast.Statement) string {
	switch s := stmt.(type) {
	case *ast.Select:
		return "Select"
	case *ast.Insert:
		return "Insert"
	case *ast.Update:
		return "Update"
	case *ast.Delete:
		return "Delete"
	case *ast.CreateKeyspace:
		return "CreateKeyspace"
	case *ast.AlterKeyspace:
		return "AlterKeyspace"
	case *ast.DropKeyspace:
		return "DropKeyspace"
	case *ast.CreateTable:
		return "CreateTable"
	case *ast.AlterTable:
		return "AlterTable"
	case *ast.DropTable:
		return "DropTable"
	case *ast.RestoreTable:
		return "RestoreTable"
	case *ast.CreateType:
		return "CreateUdt"
	case *ast.AlterType:
		return "AlterUdt"
	case *ast.DropType:
		return "DropUdt"
	case *ast.Truncate:
		return "Truncate"
	case *ast.CreateIndex:
		return "CreateIndex"
	case *ast.DropIndex:
		return "DropIndex"
	case *ast.CreateView:
		return "CreateMaterializedView"
	case *ast.AlterView:
		return "AlterMaterializedView"
	case *ast.DropView:
		return "DropMaterializedView"
	case *ast.Administrative:
		return camel(s.Verb) + camel(s.Object)
	}
	return "Unknown"
}

func camel(word string) string {
	b := []byte(word)
	for i := 1; i < len(b); i++ {
		b[i] |= 0x20
	}
	return string(b)
}

// Describe writes what a statement's record says beside the call.
func (st *step) Describe(c *call.Call, i int, _ error, r *record.Record) {
	x := &st.list[i]
	r.EventSource, r.APIVersion, r.EventName = eventSource, cql.Version, eventName(x.stmt)
	resource := record.Resource{Type: "AWS::Cassandra::Table", ARN: st.arn(x), AccountID: c.AccountID}
	b := r.RequestParameters[:0]
	if st.Category(i) == record.Management {
		if x.name == "" || st.isType(x) {
			resource.Type = "AWS::Cassandra::Keyspace"
		}
		b = st.definition(b, x)
	} else {
		d := describer{b: b, t: x.table, ev: &x.env, threshold: st.s.mask, scratch: st.mask[0], text: st.mask[1]}
		d.statement(x, st.using)
		st.mask = [2][]byte{d.scratch, d.text}
		b, r.ReadOnly = d.b, r.EventName == "Select"
	}
	r.RequestParameters = b
	if x.keyspace != "" {
		r.Resources = append(r.Resources, resource)
	}
}

func (st *step) isType(x *statement) bool {
	switch x.stmt.(type) {
	case *ast.CreateType, *ast.DropType, *ast.AlterType:
		return true
	}
	return false
}

// definition writes the parameters of a schema statement: its text as it came.
// A statement on roles may hold a password, so its text is left out.
func (st *step) definition(b []byte, x *statement) []byte {
	text := x.text
	if _, secret := x.stmt.(*ast.Administrative); secret {
		text = record.Omitted
	}
	b = record.AppendString(append(b, `{"rawQuery":`...), text)
	if x.keyspace != "" {
		b = record.AppendString(append(b, `,"keyspaceName":`...), x.keyspace)
	}
	if x.name != "" {
		key := `,"tableName":`
		if st.isType(x) {
			key = `,"typeName":`
		}
		b = record.AppendString(append(b, key...), x.name)
	}
	return append(b, '}')
}

// describer writes the parameters of a statement on rows.
type describer struct {
	b         []byte
	t         *Table // nil when it does not exist; then every value is hidden
	ev        *env
	threshold int
	scratch   []byte
	text      []byte
}

func (d *describer) raw(s string) { d.b = append(d.b, s...) }
func (d *describer) str(s string) { d.b = record.AppendString(d.b, s) }

func (d *describer) column(name string) *Column {
	if d.t == nil {
		return nil
	}
	return d.t.byName[name]
}

func (d *describer) statement(x *statement, batch ast.Using) {
	d.raw(`{"keyspaceName":`)
	d.str(x.keyspace)
	d.raw(`,"tableName":`)
	d.str(x.name)
	switch s := x.stmt.(type) {
	case *ast.Select:
		d.selection(s)
	case *ast.Insert:
		d.insert(s, batch)
	case *ast.Update:
		d.raw(`,"primaryKeys":`)
		d.primaryKeys(s.Where)
		d.raw(`,"assignmentColumnNames":[`)
		for i, a := range s.Assignments {
			d.comma(i)
			d.str(a.Column.Text)
		}
		d.raw("]")
		if len(s.If) > 0 || s.IfExists {
			d.raw(`,"conditions":`)
			d.conditions(s.If)
		}
		if s.Using.TTL != nil || s.Using.Timestamp != nil || batch.Timestamp != nil {
			d.parameters(s.Using, batch)
		}
	case *ast.Delete:
		d.raw(`,"primaryKeys":`)
		d.primaryKeys(s.Where)
		d.raw(`,"conditions":`)
		d.conditions(s.If)
		d.raw(`,"deleteColumnNames":[`)
		for i, c := range s.Columns {
			d.comma(i)
			d.str(c.Column)
		}
		d.raw("]")
		d.parameters(s.Using, batch)
	}
	d.raw("}")
}

func (d *describer) comma(i int) {
	if i > 0 {
		d.b = append(d.b, ',')
	}
}

func (d *describer) selection(s *ast.Select) {
	d.raw(`,"conditions":`)
	d.conditions(s.Where)
	d.raw(`,"select":[`)
	if len(s.Selectors) == 0 && d.t != nil {
		for i, c := range d.t.Columns {
			d.comma(i)
			d.str(c.Name)
		}
	}
	for i, x := range s.Selectors {
		d.comma(i)
		d.str(selectorName(x.Expr))
	}
	d.raw(`],"allowFiltering":`)
	if s.AllowFiltering {
		d.raw("true")
	} else {
		d.raw("false")
	}
}

// selectorName is a selected expression with its constants hidden.
func selectorName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ColumnRef:
		return e.Name
	case *ast.FunctionCall:
		if e.Star {
			return e.Name + "(*)"
		}
		s := e.Name + "("
		for i, a := range e.Args {
			if i > 0 {
				s += ", "
			}
			s += selectorName(a)
		}
		return s + ")"
	case *ast.ColumnMeta:
		if e.TTL {
			return "ttl(" + selectorName(e.Of) + ")"
		}
		return "writetime(" + selectorName(e.Of) + ")"
	case *ast.Cast:
		return "cast(" + selectorName(e.Value) + " as " + ast.String(e.Type) + ")"
	case *ast.Field:
		return selectorName(e.Of) + "." + e.Name
	case *ast.Element:
		return selectorName(e.Of) + "[" + hidden + "]"
	}
	return hidden
}

func (d *describer) insert(s *ast.Insert, batch ast.Using) {
	d.raw(`,"primaryKeys":{`)
	n := 0
	if s.JSON != nil && d.t != nil {
		for _, c := range d.t.Columns {
			if c.isKey() { // their values are in the document; they are hidden whole
				d.comma(n)
				n++
				d.str(c.Name)
				d.raw(`:"` + hidden + `"`)
			}
		}
	}
	for i, name := range s.Columns {
		if c := d.column(name.Text); c != nil && c.isKey() && i < len(s.Values) {
			d.comma(n)
			n++
			d.str(name.Text)
			d.raw(":")
			d.value(s.Values[i], c.Type, "")
		}
	}
	d.raw(`},"columnNames":[`)
	for i, name := range s.Columns {
		d.comma(i)
		d.str(name.Text)
	}
	d.raw("]")
	if s.IfNotExists {
		d.raw(`,"conditions":[]`)
	}
	d.parameters(s.Using, batch)
}

// parameters writes USING; a batch's timestamp is each of its statements'.
func (d *describer) parameters(u, batch ast.Using) {
	d.raw(`,"updateParameters":{`)
	n := 0
	if u.TTL != nil {
		d.raw(`"TTL":`)
		d.value(u.TTL, types.Scalar(types.Int), "")
		n++
	}
	at := u.Timestamp
	if at == nil {
		at = batch.Timestamp
	}
	if at != nil {
		d.comma(n)
		d.raw(`"TIMESTAMP":`)
		d.value(at, types.Scalar(types.Bigint), "")
	}
	d.raw("}")
}

func (d *describer) primaryKeys(rels []*ast.Relation) {
	d.raw("{")
	n := 0
	for _, r := range rels {
		c := d.column(r.Columns[0].Text)
		if d.t != nil && (c == nil || !c.isKey()) {
			continue
		}
		d.comma(n)
		n++
		d.str(r.Columns[0].Text)
		d.raw(":")
		if c == nil || r.Kind != ast.ColumnRelation || r.Op != ast.OpEq {
			op := ""
			if r.Op != ast.OpEq {
				op = r.Op.String() + " "
			}
			if c != nil && r.Value != nil && r.Kind == ast.ColumnRelation && r.Op != ast.OpIn {
				d.value(r.Value, c.Type, op)
			} else {
				d.str(op + hidden)
			}
			continue
		}
		d.value(r.Value, c.Type, "")
	}
	d.raw("}")
}

func (d *describer) conditions(rels []*ast.Relation) {
	d.raw("[")
	for i, r := range rels {
		d.comma(i)
		d.condition(r)
	}
	d.raw("]")
}

func (d *describer) condition(r *ast.Relation) {
	s := ""
	for i, n := range r.Columns {
		if i > 0 {
			s += ", "
		}
		s += n.Text
	}
	switch r.Kind {
	case ast.TokenRelation:
		s = "token(" + s + ")"
	case ast.TupleRelation:
		s = "(" + s + ")"
	case ast.ElementRelation:
		s += "[" + hidden + "]"
	case ast.FieldRelation:
		s += "." + r.Field
	}
	s += " " + r.Op.String()
	if r.Op == ast.OpIsNotNull {
		d.str(s)
		return
	}
	c := d.column(r.Columns[0].Text)
	var t *types.Type
	if c != nil && r.Kind != ast.TupleRelation {
		if typ, err := operandType(r, c); err == nil {
			t = typ
		}
	}
	if r.Op != ast.OpIn {
		d.value(r.Value, t, s+" ")
		return
	}
	if r.List == nil {
		d.str(s + " " + hidden)
		return
	}
	d.text = append(append(d.text[:0], s...), " ("...)
	for i, e := range r.List {
		if i > 0 {
			d.text = append(d.text, ", "...)
		}
		d.text = d.masked(d.text, e, t)
	}
	d.str(string(append(d.text, ')')))
}

// value writes a value as a JSON string, masked, behind a prefix.
func (d *describer) value(e ast.Expr, t *types.Type, prefix string) {
	d.text = d.masked(append(d.text[:0], prefix...), e, t)
	d.str(string(d.text))
}

// masked appends the masked value of an expression. Numbers, text and booleans
// longer than the threshold keep their first and last character, text within
// its quotes; everything else is hidden whole.
func (d *describer) masked(dst []byte, e ast.Expr, t *types.Type) []byte {
	if t == nil || e == nil || !(t.IsNumber() || t.IsText() || t.Kind == types.Boolean) {
		return append(dst, hidden...)
	}
	switch e.(type) {
	case *ast.Literal, *ast.BindMarker:
	default:
		return append(dst, hidden...)
	}
	v, err := types.Coerce(e, t, "", &d.ev.Env)
	if err != nil || v.Data == nil {
		return append(dst, hidden...)
	}
	d.scratch = t.AppendText(d.scratch[:0], v.Data)
	return mask(dst, d.scratch, t.IsText(), d.threshold)
}

// mask appends the masked form of a value's text.
func mask(dst, text []byte, quoted bool, threshold int) []byte {
	if utf8.RuneCount(text) <= max(threshold, 2) || string(text) == "NaN" {
		return append(dst, hidden...)
	}
	_, first := utf8.DecodeRune(text)
	_, last := utf8.DecodeLastRune(text)
	if quoted {
		dst = append(dst, '\'')
	}
	dst = append(dst, text[:first]...)
	dst = append(dst, hidden...)
	dst = append(dst, text[len(text)-last:]...)
	if quoted {
		dst = append(dst, '\'')
	}
	return dst
}
