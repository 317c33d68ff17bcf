package sql

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNoTable is a Resolver's answer for a table that does not exist, and
// ErrNoDatabase for a database.
var (
	ErrNoTable    = errors.New("sql: no such table")
	ErrNoDatabase = errors.New("sql: no such database")
)

// Table is a catalogue table as a query sees it.
type Table struct {
	// Relation is the identifier under which the engine offers the table's rows
	// for this query. Nothing else of the catalogue gets into the SQL.
	Relation string
	Columns  []Column
}

// Resolver finds the catalogue's tables. It is asked once for each mention.
type Resolver interface {
	Table(catalog, database, table string) (*Table, error)
}

// SemanticError is a query that parses and cannot run. Error is Athena's
// StateChangeReason.
type SemanticError struct {
	Name    string // Trino's error name, TABLE_NOT_FOUND
	At      Pos
	Message string
}

func (e *SemanticError) Error() string {
	return fmt.Sprintf("%s: line %d:%d: %s", e.Name, e.At.Line, e.At.Col, e.Message)
}

func semantic(name string, at Pos, format string, args ...any) error {
	return &SemanticError{name, at, fmt.Sprintf(format, args...)}
}

// TableName is a table that a statement mentions.
type TableName struct{ Catalog, Database, Table string }

// ResultColumn is a column of a query's result. The type is unknown where only
// the engine knows it.
type ResultColumn struct {
	Name string
	Type Type
}

// Predicate is a comparison that every row of a relation must pass, for
// skipping partitions: column op values, op one of = < <= > >= IN.
type Predicate struct {
	Column string
	Op     string
	Values []string
}

// Rewritten is a query in DuckDB's dialect.
type Rewritten struct {
	SQL     string
	Columns []ResultColumn
	Tables  []TableName
	// Prefixed is SQL over relations that have their columns' prefixes, "" where
	// it would be the same.
	Prefixed string
	// Predicates are by relation. A relation that is mentioned where a
	// predicate need not hold has none.
	Predicates map[string][]Predicate
}

// AwsDataCatalog is the name of the catalogue that every account has.
const AwsDataCatalog = "awsdatacatalog"

// Rewrite turns a query into DuckDB's dialect. database completes names of one
// part; params are the values of ?, as SQL expressions or as text (Athena user
// guide, "Use parameterized queries").
//
// The SQL holds only relations that the resolver gave, the query's own names
// quoted, constants quoted, and functions of a fixed table.
func Rewrite(q *Query, database string, r Resolver, params []string) (*Rewritten, error) {
	return rewrite(&rewriter{resolver: r, database: database}, q, params)
}

// RewriteLake is Rewrite for CloudTrail Lake's dialect, in which a time may be
// compared with a text: eventtime > '2026-01-01 00:00:00'.
func RewriteLake(q *Query, r Resolver, params []string) (*Rewritten, error) {
	return rewrite(&rewriter{resolver: r, textTimes: true, noRecursion: true}, q, params)
}

func rewrite(w *rewriter, q *Query, params []string) (*Rewritten, error) {
	w.out = &Rewritten{Predicates: map[string][]Predicate{}}
	w.prefixes = &prefixes{bare: map[mention]bool{}, tables: map[TableName]*Table{}}
	for _, text := range params {
		w.params = append(w.params, parameter(text))
	}
	sql, cols, err := w.query(q, nil)
	if err != nil {
		return nil, err
	}
	w.out.SQL = jsonAsText(sql, cols)
	for _, c := range cols {
		w.out.Columns = append(w.out.Columns, ResultColumn{c.Name, c.Type})
	}
	w.out.Prefixed, err = w.withPrefixes(q)
	return w.out, err
}

// jsonAsText makes a result's JSON its text: the engine's driver would parse it
// and give every number as a double.
func jsonAsText(sql string, cols []Column) string {
	names, items := make([]string, len(cols)), make([]string, len(cols))
	found := false
	for i, c := range cols {
		names[i] = quoteIdent("_c" + strconv.Itoa(i))
		items[i] = names[i]
		if t, has := c.Type.textForJSON(); has {
			found = true
			items[i] = "CAST(" + items[i] + " AS " + t.DuckDB() + ")"
		}
		items[i] += " AS " + quoteIdent(c.Name)
	}
	if !found {
		return sql
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM (" + sql + ") AS _r(" + strings.Join(names, ", ") + ")"
}

// parameter: a value that parses as an expression without names is that
// expression, anything else is a text.
func parameter(text string) Expr {
	toks, err := lex(text)
	if err == nil {
		p := &parser{toks: toks, src: text}
		if e, err := p.expr(); err == nil && p.peek().kind == tEOF {
			named := false
			walk(e, func(x Expr) {
				if _, ok := x.(*Ref); ok {
					named = true
				}
			})
			if !named {
				return e
			}
		}
	}
	return &Literal{Kind: "STRING", Text: text, At: Pos{1, 1}}
}

type rewriter struct {
	resolver Resolver
	database string
	params   []Expr
	out      *Rewritten
	depth    int
	// recursion counts the queries around the place that may be recursive: a step
	// is written out once for each depth.
	recursion int
	trying    int // how many TRY the expression stands in
	// textTimes lets times be compared with texts, as CloudTrail Lake does.
	textTimes   bool
	noRecursion bool // Lake has none, and nothing else bounds it
	prefixes    *prefixes
}

// scope is what names mean at one place: the relations of FROM, and what the
// scope around offers.
type scope struct {
	outer   *scope
	rels    []scopeRel
	ctes    map[string][]Column
	lambdas map[string]bool
	where   bool  // while WHERE is rewritten
	used    *bool // set when a name of ctes is; nil where nobody asks
}

type scopeRel struct {
	alias    string // as it is quoted in the SQL
	relation string // of the catalogue, "" for others
	columns  []Column
	optional bool // on the outer side of a join: a WHERE may not be pushed down
	// table and in are the mention of a table whose columns keep their names, and
	// the scope of its FROM.
	table *TableRef
	in    *scope
}

func (w *rewriter) enter(at Pos) error {
	if w.depth++; w.depth > 4*maxDepth {
		return semantic("STATEMENT_TOO_LARGE", at, "the query is nested too deeply")
	}
	return nil
}

func (w *rewriter) query(q *Query, outer *scope) (string, []Column, error) {
	if err := w.enter(q.Pos); err != nil {
		return "", nil, err
	}
	defer func() { w.depth-- }()
	s := &scope{outer: outer, ctes: map[string][]Column{}}
	var b strings.Builder
	if len(q.With) > 0 {
		b.WriteString("WITH ")
		if q.Recursive && w.noRecursion {
			return "", nil, semantic("NOT_SUPPORTED", q.Pos, "WITH RECURSIVE is not supported")
		}
		if q.Recursive && w.recursion > 0 {
			return "", nil, semantic("NESTED_RECURSIVE", q.Pos, "nested recursive query")
		}
		for i, c := range q.With {
			if i > 0 {
				b.WriteString(", ")
			}
			sql, cols, err := w.with(q, &c, s)
			if err != nil {
				return "", nil, err
			}
			b.WriteString(quoteIdent(c.Name))
			if len(c.Columns) > 0 {
				if len(c.Columns) != len(cols) {
					return "", nil, semantic("MISMATCHED_COLUMN_ALIASES", c.Pos, "Column alias list has %d entries but relation has %d columns", len(c.Columns), len(cols))
				}
				b.WriteString("(" + identList(c.Columns) + ")")
				cols = renamed(cols, c.Columns)
			}
			s.ctes[c.Name] = cols
			b.WriteString(" AS (" + sql + ")")
		}
		b.WriteString(" ")
	}
	sql, cols, inner, err := w.body(q.Body, s)
	if err != nil {
		return "", nil, err
	}
	b.WriteString(sql)
	if len(q.OrderBy) > 0 {
		if inner == nil {
			inner = &scope{outer: s}
		}
		o, err := w.orderBy(q.OrderBy, inner, cols)
		if err != nil {
			return "", nil, err
		}
		b.WriteString(" ORDER BY " + o)
	}
	for _, l := range []struct {
		word string
		e    Expr
	}{{" LIMIT ", q.Limit}, {" OFFSET ", q.Offset}} {
		if l.e == nil {
			continue
		}
		x, _, err := w.expr(l.e, s)
		if err != nil {
			return "", nil, err
		}
		b.WriteString(l.word + x)
	}
	return b.String(), cols, nil
}

func identList(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quoteIdent(n)
	}
	return strings.Join(out, ", ")
}

func renamed(cols []Column, names []string) []Column {
	out := append([]Column(nil), cols...)
	for i := range out {
		if i < len(names) {
			out[i].Name = names[i]
		}
	}
	return out
}

// body returns also the scope in which ORDER BY may name columns of FROM.
func (w *rewriter) body(b Body, s *scope) (string, []Column, *scope, error) {
	switch x := b.(type) {
	case *Select:
		return w.selectBody(x, s)
	case *Query:
		sql, cols, err := w.query(x, s)
		return "(" + sql + ")", cols, nil, err
	case *SetOp:
		l, cols, _, err := w.body(x.Left, s)
		if err != nil {
			return "", nil, nil, err
		}
		r, rcols, _, err := w.body(x.Right, s)
		if err != nil {
			return "", nil, nil, err
		}
		if len(cols) != len(rcols) {
			return "", nil, nil, semantic("TYPE_MISMATCH", Pos{1, 1}, "%s query has different number of fields: %d, %d", x.Op, len(cols), len(rcols))
		}
		op := x.Op
		if x.All {
			op += " ALL"
		}
		return l + " " + op + " " + r, merged(cols, rcols), nil, nil
	case *Values:
		return w.values(x, s)
	case *TableBody:
		t := &TableRef{Name: x.Name}
		return w.selectBody(&Select{Items: []SelectItem{{Star: true}}, From: []Relation{t}, Pos: x.Name.Pos}, s)
	}
	return "", nil, nil, semantic("NOT_SUPPORTED", Pos{1, 1}, "this form of query is not supported")
}

// merged keeps a type where both sides agree.
func merged(a, b []Column) []Column {
	out := append([]Column(nil), a...)
	for i := range out {
		if a[i].Type.String() != b[i].Type.String() {
			out[i].Type = Type{}
		}
	}
	return out
}

func (w *rewriter) values(v *Values, s *scope) (string, []Column, *scope, error) {
	var cols []Column
	rows := make([]string, len(v.Rows))
	for i, r := range v.Rows {
		parts := make([]string, len(r))
		for k, e := range r {
			sql, t, err := w.expr(e, s)
			if err != nil {
				return "", nil, nil, err
			}
			parts[k] = sql
			if i == 0 {
				cols = append(cols, Column{Name: "_col" + strconv.Itoa(k), Type: t})
			}
		}
		if len(parts) != len(cols) {
			return "", nil, nil, semantic("TYPE_MISMATCH", Pos{1, 1}, "Values rows have mismatched sizes: %d vs %d", len(cols), len(parts))
		}
		rows[i] = "(" + strings.Join(parts, ", ") + ")"
	}
	names := make([]string, len(cols))
	for i := range cols {
		names[i] = cols[i].Name
	}
	return "SELECT * FROM (VALUES " + strings.Join(rows, ", ") + ") AS " + quoteIdent("_values") + "(" + identList(names) + ")", cols, nil, nil
}

func (w *rewriter) selectBody(q *Select, outer *scope) (string, []Column, *scope, error) {
	s := &scope{outer: outer}
	var from []string
	for _, r := range q.From {
		sql, err := w.relation(r, s, false)
		if err != nil {
			return "", nil, nil, err
		}
		from = append(from, sql)
	}
	items, cols, err := w.selectItems(q, s)
	if err != nil {
		return "", nil, nil, err
	}
	var b strings.Builder
	b.WriteString("SELECT ")
	if q.Distinct {
		b.WriteString("DISTINCT ")
	}
	b.WriteString(strings.Join(items, ", "))
	if len(from) > 0 {
		b.WriteString(" FROM " + strings.Join(from, ", "))
	}
	clause := func(word string, e Expr) error {
		if e == nil {
			return nil
		}
		sql, t, err := w.expr(e, s)
		if err != nil {
			return err
		}
		if t.Known() && t.Name != "boolean" {
			return semantic("TYPE_MISMATCH", e.pos(), "%s clause must evaluate to a boolean: actual type %s", strings.TrimSpace(word), t)
		}
		b.WriteString(" " + word + " " + sql)
		return nil
	}
	s.where = true
	if err := clause("WHERE", q.Where); err != nil {
		return "", nil, nil, err
	}
	w.collect(q.Where, s)
	needles, err := w.needles(q.Where, s)
	s.where = false
	if err != nil {
		return "", nil, nil, err
	}
	for _, n := range needles {
		b.WriteString(" AND " + n)
	}
	if len(q.GroupBy) > 0 {
		g, err := w.groupBy(q.GroupBy, s)
		if err != nil {
			return "", nil, nil, err
		}
		b.WriteString(" GROUP BY " + g)
	}
	if err := clause("HAVING", q.Having); err != nil {
		return "", nil, nil, err
	}
	for i, nw := range q.Windows {
		spec, err := w.window(nw.Window, s)
		if err != nil {
			return "", nil, nil, err
		}
		word := " WINDOW "
		if i > 0 {
			word = ", "
		}
		b.WriteString(word + quoteIdent(nw.Name) + " AS (" + spec + ")")
	}
	return b.String(), cols, s, nil
}

func (w *rewriter) selectItems(q *Select, s *scope) ([]string, []Column, error) {
	var items []string
	var cols []Column
	for _, it := range q.Items {
		if it.Star {
			starred, err := w.star(it, s)
			if err != nil {
				return nil, nil, err
			}
			for _, c := range starred {
				items = append(items, c.sql+" AS "+quoteIdent(c.col.Name))
				cols = append(cols, c.col)
			}
			continue
		}
		sql, t, err := w.expr(it.Expr, s)
		if err != nil {
			return nil, nil, err
		}
		name := it.Alias
		if name == "" {
			switch x := it.Expr.(type) {
			case *Ref:
				name = x.Parts[len(x.Parts)-1]
			case *Field:
				name = x.Name
			default:
				name = "_col" + strconv.Itoa(len(cols))
			}
		}
		items = append(items, sql+" AS "+quoteIdent(name))
		cols = append(cols, Column{Name: name, Type: t})
	}
	return items, cols, nil
}

type starred struct {
	sql string
	col Column
}

// hiddenColumn is a column that * does not give.
func hiddenColumn(name string) bool { return strings.HasPrefix(name, "$") }

func (w *rewriter) star(it SelectItem, s *scope) ([]starred, error) {
	var out []starred
	for _, r := range s.rels {
		if len(it.Qualifier) > 0 && it.Qualifier[len(it.Qualifier)-1] != r.alias {
			continue
		}
		for _, c := range r.columns {
			if !hiddenColumn(c.Name) {
				w.named(&r, c)
				out = append(out, starred{quoteIdent(r.alias) + "." + quoteIdent(c.Name), c})
			}
		}
	}
	if len(out) == 0 {
		if len(it.Qualifier) > 0 {
			return nil, semantic("TABLE_NOT_FOUND", it.Pos, "Unable to resolve reference %s", strings.Join(it.Qualifier, "."))
		}
		return nil, semantic("COLUMN_NOT_FOUND", it.Pos, "SELECT * not allowed in queries without FROM clause")
	}
	return out, nil
}

func (w *rewriter) relation(r Relation, s *scope, optional bool) (string, error) {
	if err := w.enter(Pos{1, 1}); err != nil {
		return "", err
	}
	defer func() { w.depth-- }()
	switch x := r.(type) {
	case *TableRef:
		return w.table(x, s, optional)
	case *SubqueryRef:
		outer := s.outer
		if x.Lateral {
			outer = s
		}
		sql, cols, err := w.query(x.Query, outer)
		if err != nil {
			return "", err
		}
		alias := x.Alias
		if alias == "" {
			alias = "_query" + strconv.Itoa(len(s.rels))
		}
		s.rels = append(s.rels, scopeRel{alias: alias, columns: renamed(cols, x.Columns), optional: optional})
		lateral := ""
		if x.Lateral {
			lateral = "LATERAL "
		}
		return lateral + "(" + sql + ") AS " + quoteIdent(alias) + columnList(x.Columns), nil
	case *Unnest:
		return w.unnest(x, s)
	case *Join:
		return w.join(x, s, optional)
	}
	return "", semantic("NOT_SUPPORTED", Pos{1, 1}, "this relation is not supported")
}

func columnList(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "(" + identList(names) + ")"
}

func (s *scope) cte(name string) ([]Column, bool) {
	for ; s != nil; s = s.outer {
		if c, ok := s.ctes[name]; ok {
			if s.used != nil {
				*s.used = true
			}
			return c, true
		}
	}
	return nil, false
}

func (w *rewriter) table(t *TableRef, s *scope, optional bool) (string, error) {
	parts := t.Name.Parts
	alias := t.Alias
	if alias == "" {
		alias = t.Name.Last()
	}
	sample := ""
	if t.Sample != "" {
		x, _, err := w.expr(t.Percent, s)
		if err != nil {
			return "", err
		}
		sample = " TABLESAMPLE " + t.Sample + " (" + x + " PERCENT)"
	}
	if len(parts) == 1 {
		if cols, ok := s.cte(parts[0]); ok {
			s.rels = append(s.rels, scopeRel{alias: alias, columns: renamed(cols, t.Columns), optional: optional})
			return quoteIdent(parts[0]) + " AS " + quoteIdent(alias) + columnList(t.Columns) + sample, nil
		}
	}
	n := qualify(t.Name, w.database)
	tab, err := w.resolver.Table(n.Catalog, n.Database, n.Table)
	switch {
	case errors.Is(err, ErrNoDatabase):
		return "", semantic("SCHEMA_NOT_FOUND", t.Name.Pos, "Schema '%s' does not exist", n.Database)
	case errors.Is(err, ErrNoTable):
		return "", semantic("TABLE_NOT_FOUND", t.Name.Pos, "Table '%s.%s.%s' does not exist", n.Catalog, n.Database, n.Table)
	case err != nil:
		return "", err
	}
	w.out.Tables = append(w.out.Tables, n)
	w.prefixes.tables[n] = tab
	rel := scopeRel{alias: alias, relation: tab.Relation, columns: renamed(tab.Columns, t.Columns), optional: optional || len(t.Columns) > 0}
	if len(t.Columns) == 0 {
		rel.table, rel.in = t, s
	}
	s.rels = append(s.rels, rel)
	return quoteIdent(tab.Relation) + " AS " + quoteIdent(alias) + columnList(t.Columns) + sample, nil
}

func qualify(n Name, database string) TableName {
	out := TableName{Catalog: AwsDataCatalog, Database: database, Table: n.Last()}
	if len(n.Parts) > 1 {
		out.Database = n.Parts[len(n.Parts)-2]
	}
	if len(n.Parts) > 2 {
		out.Catalog = n.Parts[0]
	}
	if out.Database == "" {
		out.Database = "default"
	}
	return out
}

// Qualify completes a statement's table name with the default database.
func Qualify(n Name, database string) TableName { return qualify(n, database) }

func (w *rewriter) join(j *Join, s *scope, optional bool) (string, error) {
	left, err := w.relation(j.Left, s, optional || j.Kind == "RIGHT" || j.Kind == "FULL")
	if err != nil {
		return "", err
	}
	right, err := w.relation(j.Right, s, optional || j.Kind == "LEFT" || j.Kind == "FULL")
	if err != nil {
		return "", err
	}
	kind := j.Kind
	if j.Natural {
		w.prefixes.natural = true
		kind = "NATURAL " + kind
	}
	sql := left + " " + kind + " JOIN " + right
	if _, ok := j.Right.(*Unnest); ok && j.Kind == "CROSS" {
		return left + ", " + right, nil
	}
	shared := j.Using
	if j.Natural {
		for _, c := range s.rels[len(s.rels)-1].columns {
			shared = append(shared, c.Name)
		}
	}
	s.share(shared)
	switch {
	case j.On != nil:
		on, _, err := w.expr(j.On, s)
		if err != nil {
			return "", err
		}
		sql += " ON " + on
	case len(j.Using) > 0:
		sql += " USING (" + identList(j.Using) + ")"
	}
	return sql, nil
}

// share hides the last relation's columns that a join has in common with those
// before it: there is one column of that name then.
func (s *scope) share(names []string) {
	last := &s.rels[len(s.rels)-1]
	var kept []Column
	for _, c := range last.columns {
		common := false
		for _, n := range names {
			if n != c.Name {
				continue
			}
			for _, r := range s.rels[:len(s.rels)-1] {
				_, has := column(r.columns, n)
				common = common || has
			}
		}
		if !common {
			kept = append(kept, c)
		}
	}
	last.columns = kept
}

// unnest turns UNNEST into a lateral query of DuckDB's list unnest, several of
// which in one SELECT are zipped: a plan that keeps the elements' order, which
// a join with a series does not. An array of rows gives one column of rows, as
// Athena documents; a map two columns.
func (w *rewriter) unnest(u *Unnest, s *scope) (string, error) {
	alias := u.Alias
	if alias == "" {
		alias = "_unnest" + strconv.Itoa(len(s.rels))
	}
	var cols []Column
	var items []string
	var lengths []string
	add := func(sql string, t Type) {
		name := "_col" + strconv.Itoa(len(cols))
		if len(cols) < len(u.Columns) {
			name = u.Columns[len(cols)]
		}
		cols = append(cols, Column{Name: name, Type: t})
		items = append(items, sql+" AS "+quoteIdent(name))
	}
	for _, a := range u.Args {
		sql, t, err := w.expr(a, s)
		if err != nil {
			return "", err
		}
		switch {
		case t.Name == "map":
			add("unnest(map_keys("+sql+"))", t.Elems[0])
			add("unnest(map_values("+sql+"))", t.Elems[1])
			lengths = append(lengths, "len(map_keys("+sql+"))")
		case t.Name == "array" || !t.Known():
			elem := Type{}
			if t.Known() {
				elem = t.Elems[0]
			}
			add("unnest("+sql+")", elem)
			lengths = append(lengths, "len("+sql+")")
		default:
			return "", semantic("TYPE_MISMATCH", u.Pos, "Cannot unnest type: %s", t)
		}
	}
	if u.Ordinality {
		n := lengths[0]
		if len(lengths) > 1 {
			n = "greatest(" + strings.Join(lengths, ", ") + ")"
		}
		add("unnest(generate_series(1, coalesce("+n+", 0)))", simple("bigint"))
	}
	if len(u.Columns) > 0 && len(u.Columns) != len(cols) {
		return "", semantic("MISMATCHED_COLUMN_ALIASES", u.Pos, "Column alias list has %d entries but '%s' has %d columns available", len(u.Columns), alias, len(cols))
	}
	s.rels = append(s.rels, scopeRel{alias: alias, columns: cols})
	return "LATERAL (SELECT " + strings.Join(items, ", ") + ") AS " + quoteIdent(alias), nil
}
