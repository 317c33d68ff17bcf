package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// expr rewrites an expression and infers its type, the zero Type where that
// is left to the engine.
func (w *rewriter) expr(e Expr, s *scope) (string, Type, error) {
	if err := w.enter(e.pos()); err != nil {
		return "", Type{}, err
	}
	defer func() { w.depth-- }()
	switch x := e.(type) {
	case *Literal:
		return literal(x)
	case *Interval:
		return interval(x)
	case *Ref:
		return w.ref(x, s)
	case *Field:
		sql, t, err := w.expr(x.Base, s)
		if err != nil {
			return "", Type{}, err
		}
		return w.fields(sql, t, []string{x.Name}, x.At)
	case *Param:
		if x.Index >= len(w.params) {
			return "", Type{}, semantic("INVALID_PARAMETER_USAGE", x.At, "Incorrect number of parameters: expected %d but found %d", x.Index+1, len(w.params))
		}
		return w.expr(w.params[x.Index], &scope{})
	case *Unary:
		return w.unary(x, s)
	case *Binary:
		return w.binary(x, s)
	case *Call:
		return w.call(x, s)
	case *Cast:
		return w.cast(x, s)
	case *Case:
		return w.caseExpr(x, s)
	case *Subscript:
		return w.subscript(x, s)
	case *Array:
		return w.array(x, s)
	case *Row:
		return w.row(x, s)
	case *Lambda:
		return "", Type{}, semantic("TYPE_MISMATCH", x.At, "a lambda can only be an argument of a function that takes one")
	}
	return w.test(e, s)
}

// test rewrites the expressions whose value is a boolean or a query's.
func (w *rewriter) test(e Expr, s *scope) (string, Type, error) {
	boolean := simple("boolean")
	not := func(n bool) string {
		if n {
			return " NOT"
		}
		return ""
	}
	switch x := e.(type) {
	case *Between:
		parts, types, err := w.exprs([]Expr{x.X, x.Lo, x.Hi}, s)
		if err != nil {
			return "", boolean, err
		}
		for i := range types[1:] {
			w.timeText(&parts[0], &types[0], &parts[i+1], &types[i+1])
		}
		for _, t := range types[1:] {
			if !comparable(types[0], t) {
				return "", boolean, semantic("TYPE_MISMATCH", x.At, "Cannot check if %s is BETWEEN %s and %s", types[0], types[1], types[2])
			}
		}
		return "(" + parts[0] + not(x.Not) + " BETWEEN " + parts[1] + " AND " + parts[2] + ")", boolean, nil
	case *In:
		return w.in(x, s)
	case *Like:
		parts, types, err := w.exprs([]Expr{x.X, x.Pattern}, s)
		if err != nil {
			return "", boolean, err
		}
		if types[0].Known() && !types[0].isText() {
			return "", boolean, semantic("TYPE_MISMATCH", x.At, "Left side of LIKE expression must evaluate to a varchar (actual: %s)", types[0])
		}
		sql := "(" + parts[0] + not(x.Not) + " LIKE " + parts[1]
		if x.Escape != nil {
			esc, _, err := w.expr(x.Escape, s)
			if err != nil {
				return "", boolean, err
			}
			sql += " ESCAPE " + esc
		}
		return sql + ")", boolean, nil
	case *IsNull:
		sql, _, err := w.expr(x.X, s)
		return "(" + sql + " IS" + not(x.Not) + " NULL)", boolean, err
	case *Distinct:
		parts, types, err := w.exprs([]Expr{x.L, x.R}, s)
		if err != nil {
			return "", boolean, err
		}
		if !comparable(types[0], types[1]) {
			return "", boolean, mismatch(x.At, "IS DISTINCT FROM", types[0], types[1])
		}
		return "(" + parts[0] + " IS" + not(x.Not) + " DISTINCT FROM " + parts[1] + ")", boolean, nil
	case *Scalar:
		sql, cols, err := w.query(x.Query, s)
		if err != nil {
			return "", Type{}, err
		}
		if len(cols) != 1 {
			return "", Type{}, semantic("NOT_SUPPORTED", x.At, "Multiple columns returned by subquery are not yet supported. Found %d", len(cols))
		}
		return "(" + sql + ")", cols[0].Type, nil
	case *Exists:
		sql, _, err := w.query(x.Query, s)
		return "EXISTS (" + sql + ")", boolean, err
	case *Quantified:
		l, _, err := w.expr(x.X, s)
		if err != nil {
			return "", boolean, err
		}
		q, _, err := w.query(x.Query, s)
		word := " ANY ("
		if x.All {
			word = " ALL ("
		}
		return "(" + l + " " + x.Op + word + q + "))", boolean, err
	case *AtTimeZone:
		return w.atTimeZone(x, s)
	case *Extract:
		return w.call(&Call{Name: x.Unit, Args: []Expr{x.X}, At: x.At}, s)
	}
	return "", Type{}, semantic("NOT_SUPPORTED", e.pos(), "this expression is not supported")
}

func (w *rewriter) exprs(es []Expr, s *scope) ([]string, []Type, error) {
	sqls, types := make([]string, len(es)), make([]Type, len(es))
	for i, e := range es {
		var err error
		if sqls[i], types[i], err = w.expr(e, s); err != nil {
			return nil, nil, err
		}
	}
	return sqls, types, nil
}

func literal(l *Literal) (string, Type, error) {
	switch l.Kind {
	case "NULL":
		return "NULL", Type{}, nil
	case "BOOLEAN":
		return l.Text, simple("boolean"), nil
	case "STRING":
		return quoteString(l.Text), Type{Name: "varchar", Params: []int{len([]rune(l.Text))}}, nil
	case "INTEGER":
		n, err := strconv.ParseInt(l.Text, 10, 64)
		if err != nil {
			return "", Type{}, semantic("NUMERIC_VALUE_OUT_OF_RANGE", l.At, "Invalid numeric literal: %s", l.Text)
		}
		if n <= 1<<31-1 {
			return l.Text, simple("integer"), nil
		}
		return "CAST(" + l.Text + " AS BIGINT)", simple("bigint"), nil
	case "DECIMAL": // Athena types 1.5 as double, where Trino has a decimal
		return "CAST(" + quoteString(l.Text) + " AS DOUBLE)", simple("double"), nil
	case "DOUBLE":
		return "CAST(" + quoteString(l.Text) + " AS DOUBLE)", simple("double"), nil
	case "BINARY":
		return "unhex(" + quoteString(strings.Join(strings.Fields(l.Text), "")) + ")", simple("varbinary"), nil
	case "DATE":
		return "CAST(" + quoteString(l.Text) + " AS DATE)", simple("date"), nil
	case "TIME":
		return "CAST(" + quoteString(l.Text) + " AS TIME)", simple("time"), nil
	case "TIMESTAMP":
		if zoned(l.Text) {
			return "CAST(" + quoteString(l.Text) + " AS TIMESTAMPTZ)", Type{Name: "timestamp with time zone", Params: []int{3}}, nil
		}
		return "CAST(" + quoteString(l.Text) + " AS TIMESTAMP)", Type{Name: "timestamp", Params: []int{3}}, nil
	}
	if name, ok := trinoTypes[strings.ToLower(l.Kind)]; ok {
		t := simple(name)
		if name == "decimal" {
			digits := strings.TrimLeft(l.Text, "+-")
			whole, frac, _ := strings.Cut(digits, ".")
			t.Params = []int{len(whole) + len(frac), len(frac)}
		}
		return "CAST(" + quoteString(l.Text) + " AS " + t.DuckDB() + ")", t, nil
	}
	return "", Type{}, semantic("NOT_SUPPORTED", l.At, "%s literals are not supported", l.Kind)
}

// zoned reports whether a timestamp's text ends in a zone.
func zoned(s string) bool {
	if len(s) <= 10 {
		return false
	}
	rest := s[10:]
	return strings.ContainsAny(rest, "+") || strings.LastIndexByte(rest, '-') > 0 || strings.ContainsFunc(strings.TrimPrefix(strings.TrimSpace(rest), "T"), func(r rune) bool {
		return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	})
}

func interval(i *Interval) (string, Type, error) {
	sign := ""
	if i.Negative {
		sign = "-"
	}
	name := "interval day to second"
	if i.Unit == "year" || i.Unit == "month" {
		name = "interval year to month"
	}
	if i.To == "" {
		if _, err := strconv.ParseFloat(i.Text, 64); err != nil {
			return "", Type{}, semantic("INVALID_LITERAL", i.At, "'%s' is not a valid interval literal", i.Text)
		}
		return "CAST(" + quoteString(sign+i.Text+" "+i.Unit+"s") + " AS INTERVAL)", simple(name), nil
	}
	return "", Type{}, semantic("NOT_SUPPORTED", i.At, "intervals of several fields are not supported")
}

func (w *rewriter) ref(r *Ref, s *scope) (string, Type, error) {
	if len(r.Parts) >= 1 && s.lambda(r.Parts[0]) {
		return w.fields(quoteIdent(r.Parts[0]), Type{}, r.Parts[1:], r.At)
	}
	rel, col, rest, err := w.find(r, s)
	if err != nil {
		return "", Type{}, err
	}
	w.named(rel, col)
	return w.fields(quoteIdent(rel.alias)+"."+quoteIdent(col.Name), col.Type, rest, r.At)
}

func (s *scope) lambda(name string) bool {
	for ; s != nil; s = s.outer {
		if s.lambdas[name] {
			return true
		}
	}
	return false
}

// fields takes fields of a row, one after the other.
func (w *rewriter) fields(sql string, t Type, names []string, at Pos) (string, Type, error) {
	for _, n := range names {
		if t.Known() && t.Name != "row" {
			return "", Type{}, semantic("TYPE_MISMATCH", at, "Expression %s is not of type ROW", n)
		}
		next := Type{}
		if t.Known() {
			f, ok := t.field(n)
			if !ok {
				return "", Type{}, semantic("COLUMN_NOT_FOUND", at, "Column '%s' cannot be resolved or requester is not authorized to access requested resources", n)
			}
			next = f
		}
		sql, t = "struct_extract("+sql+", "+quoteString(n)+")", next
	}
	return sql, t, nil
}

// comparable reports whether Trino compares the two types; unknown types pass.
func comparable(a, b Type) bool {
	if !a.Known() || !b.Known() {
		return true
	}
	switch {
	case a.isText() && b.isText(), a.isNumber() && b.isNumber(), a.isTime() && b.isTime():
		return true
	}
	return a.Name == b.Name
}

// timeText makes a time of a text that is compared with one, where the dialect
// has that, and reports whether it did.
func (w *rewriter) timeText(l *string, lt *Type, r *string, rt *Type) bool {
	switch {
	case !w.textTimes:
		return false
	case lt.Name == "timestamp" && rt.isText():
		*r, *rt = "CAST("+*r+" AS TIMESTAMP)", *lt
	case rt.Name == "timestamp" && lt.isText():
		*l, *lt = "CAST("+*l+" AS TIMESTAMP)", *rt
	default:
		return false
	}
	return true
}

func mismatch(at Pos, op string, l, r Type) error {
	return semantic("TYPE_MISMATCH", at, "Cannot apply operator: %s %s %s", l, op, r)
}

func (w *rewriter) unary(u *Unary, s *scope) (string, Type, error) {
	x, t, err := w.expr(u.X, s)
	if err != nil {
		return "", Type{}, err
	}
	if u.Op == "NOT" {
		return "(NOT " + x + ")", simple("boolean"), nil
	}
	if t.isText() || t.Name == "boolean" {
		return "", Type{}, semantic("TYPE_MISMATCH", u.At, "Cannot negate %s", t)
	}
	return "(" + u.Op + " " + x + ")", t, nil
}

func (w *rewriter) binary(b *Binary, s *scope) (string, Type, error) {
	// Chains of AND and OR are long in generated queries and nest to the left.
	l, lt, err := w.expr(b.L, s)
	if err != nil {
		return "", Type{}, err
	}
	r, rt, err := w.expr(b.R, s)
	if err != nil {
		return "", Type{}, err
	}
	plain := "(" + l + " " + b.Op + " " + r + ")"
	switch b.Op {
	case "AND", "OR":
		for _, t := range []Type{lt, rt} {
			if t.Known() && t.Name != "boolean" {
				return "", Type{}, semantic("TYPE_MISMATCH", b.At, "Logical expression term must evaluate to a boolean (actual: %s)", t)
			}
		}
		return plain, simple("boolean"), nil
	case "=", "<>", "<", "<=", ">", ">=":
		if w.timeText(&l, &lt, &r, &rt) {
			plain = "(" + l + " " + b.Op + " " + r + ")"
		}
		if !comparable(lt, rt) {
			return "", Type{}, mismatch(b.At, b.Op, lt, rt)
		}
		return plain, simple("boolean"), nil
	case "||":
		if lt.Name == "array" || rt.Name == "array" {
			return plain, firstKnown(lt, rt), nil
		}
		if lt.isNumber() || rt.isNumber() {
			return "", Type{}, mismatch(b.At, b.Op, lt, rt)
		}
		return plain, simple("varchar"), nil
	}
	return w.arithmetic(b, l, r, lt, rt)
}

// raise fails the query at run time with a text, given as an SQL expression;
// inside TRY the value is NULL instead.
func (w *rewriter) raise(text string) string {
	if w.trying > 0 {
		return "NULL"
	}
	return "error(" + text + ")"
}

func firstKnown(ts ...Type) Type {
	for _, t := range ts {
		if t.Known() {
			return t
		}
	}
	return Type{}
}

// arithmetic: numbers as in Trino, where dividing integers truncates and
// dividing by zero fails; dates keep their type.
func (w *rewriter) arithmetic(b *Binary, l, r string, lt, rt Type) (string, Type, error) {
	plain := "(" + l + " " + b.Op + " " + r + ")"
	isInterval := func(t Type) bool { return strings.HasPrefix(t.Name, "interval") }
	switch {
	case lt.isTime() && isInterval(rt), isInterval(lt) && rt.isTime():
		t := lt
		if !t.isTime() {
			t = rt
		}
		return "CAST(" + plain + " AS " + t.DuckDB() + ")", t, nil
	case lt.isTime() && rt.isTime() && b.Op == "-":
		return plain, simple("interval day to second"), nil
	case lt.isText() || rt.isText() || lt.Name == "boolean" || rt.Name == "boolean",
		lt.isTime() && rt.isNumber(), lt.isNumber() && rt.isTime():
		return "", Type{}, mismatch(b.At, b.Op, lt, rt)
	}
	t := widest(lt, rt)
	if b.Op != "/" && b.Op != "%" {
		return plain, t, nil
	}
	if t.Known() && !t.isInteger() && t.Name != "decimal" {
		return plain, t, nil
	}
	// The engine gives NULL where Trino fails.
	op := b.Op
	if op == "/" && t.isInteger() {
		op = "//"
	}
	sql := "(CASE WHEN (" + r + ") = 0 THEN " + w.raise("'DIVISION_BY_ZERO: Division by zero'") + " ELSE (" + l + " " + op + " " + r + ") END)"
	if !t.Known() {
		return plain, t, nil
	}
	return "CAST(" + sql + " AS " + t.DuckDB() + ")", t, nil
}

var numberRank = map[string]int{"tinyint": 1, "smallint": 2, "integer": 3, "bigint": 4, "decimal": 5, "real": 6, "double": 7}

// widest is the type of arithmetic on two numbers; unknown if one is.
func widest(a, b Type) Type {
	if !a.Known() || !b.Known() {
		return Type{}
	}
	if a.Name == "decimal" || b.Name == "decimal" {
		if numberRank[a.Name] > 5 || numberRank[b.Name] > 5 {
			return simple("double")
		}
		return Type{} // the engine knows precision and scale
	}
	if numberRank[b.Name] > numberRank[a.Name] {
		return b
	}
	return a
}

func (w *rewriter) in(x *In, s *scope) (string, Type, error) {
	l, lt, err := w.expr(x.X, s)
	if err != nil {
		return "", Type{}, err
	}
	word := " IN ("
	if x.Not {
		word = " NOT IN ("
	}
	if x.Query != nil {
		q, cols, err := w.query(x.Query, s)
		if err != nil {
			return "", Type{}, err
		}
		if len(cols) != 1 {
			return "", Type{}, semantic("TYPE_MISMATCH", x.At, "Multiple columns returned by subquery are not yet supported. Found %d", len(cols))
		}
		return "(" + l + word + q + "))", simple("boolean"), nil
	}
	parts, types, err := w.exprs(x.List, s)
	if err != nil {
		return "", Type{}, err
	}
	for i := range types {
		w.timeText(&l, &lt, &parts[i], &types[i])
	}
	for _, t := range types {
		if !comparable(lt, t) {
			return "", Type{}, semantic("TYPE_MISMATCH", x.At, "IN value and list items must be the same type: %s", lt)
		}
	}
	return "(" + l + word + strings.Join(parts, ", ") + "))", simple("boolean"), nil
}

func (w *rewriter) cast(c *Cast, s *scope) (string, Type, error) {
	x, t, err := w.expr(c.X, s)
	if err != nil {
		return "", Type{}, err
	}
	word := "CAST"
	if c.Try {
		word = "TRY_CAST"
	}
	if r, ok := c.X.(*Row); ok && c.To.Name == "row" && len(r.Items) == len(c.To.Elems) {
		return w.castRow(c, r, s)
	}
	switch {
	case c.To.Name == "json":
		return "to_json(" + x + ")", c.To, nil
	case c.To.Name == "varchar" && (t.isTime() || t.Name == "double" || t.Name == "real" || t.Name == "array" || t.Name == "map" || t.Name == "row"):
		if t.Name == "date" {
			break
		}
		if strings.HasPrefix(t.Name, "timestamp") {
			return "strftime(" + x + ", '%Y-%m-%d %H:%M:%S.%g')", c.To, nil
		}
		if t.Name == "double" || t.Name == "real" {
			return "", Type{}, semantic("NOT_SUPPORTED", c.At, "Casting %s to varchar is not supported by this engine; cast to a decimal first", t)
		}
		return "", Type{}, semantic("TYPE_MISMATCH", c.At, "Cannot cast %s to %s", t, c.To)
	case c.To.isInteger() && t.isText():
		// DuckDB takes '1.5' for 2, where Trino fails.
		check := "regexp_full_match(" + x + ", '[+-]?[0-9]+')"
		if c.Try {
			return "(CASE WHEN " + check + " THEN TRY_CAST(" + x + " AS " + c.To.DuckDB() + ") END)", c.To, nil
		}
		return "(CASE WHEN " + x + " IS NULL OR " + check + " THEN CAST(" + x + " AS " + c.To.DuckDB() +
			") ELSE " + w.raise("'INVALID_CAST_ARGUMENT: Cannot cast ''' || "+x+" || ''' to "+strings.ToUpper(c.To.Name)+"'") + " END)", c.To, nil
	}
	sql := word + "(" + x + " AS " + c.To.DuckDB() + ")"
	if c.To.Name == "varchar" && len(c.To.Params) == 1 {
		sql = "substr(" + sql + ", 1, " + strconv.Itoa(c.To.Params[0]) + ")"
	}
	return sql, c.To, nil
}

// castRow gives a row's values the names and types it is cast to.
func (w *rewriter) castRow(c *Cast, r *Row, s *scope) (string, Type, error) {
	parts := make([]string, len(r.Items))
	for i, item := range r.Items {
		sql, _, err := w.cast(&Cast{X: item, To: c.To.Elems[i], Try: c.Try, At: c.At}, s)
		if err != nil {
			return "", Type{}, err
		}
		parts[i] = quoteString(c.To.fieldName(i)) + ": " + sql
	}
	return "{" + strings.Join(parts, ", ") + "}", c.To, nil
}

func (w *rewriter) caseExpr(c *Case, s *scope) (string, Type, error) {
	var b strings.Builder
	b.WriteString("(CASE")
	var xt Type
	if c.X != nil {
		x, t, err := w.expr(c.X, s)
		if err != nil {
			return "", Type{}, err
		}
		xt = t
		b.WriteString(" " + x)
	}
	var types []Type
	for _, when := range c.Whens {
		parts, ts, err := w.exprs([]Expr{when.Cond, when.Then}, s)
		if err != nil {
			return "", Type{}, err
		}
		if c.X != nil && !comparable(xt, ts[0]) {
			return "", Type{}, semantic("TYPE_MISMATCH", when.Cond.pos(), "CASE operand type does not match WHEN clause operand type: %s vs %s", xt, ts[0])
		}
		types = append(types, ts[1])
		b.WriteString(" WHEN " + parts[0] + " THEN " + parts[1])
	}
	if c.Else != nil {
		e, t, err := w.expr(c.Else, s)
		if err != nil {
			return "", Type{}, err
		}
		types = append(types, t)
		b.WriteString(" ELSE " + e)
	}
	t := firstKnown(types...)
	for _, o := range types {
		if !comparable(t, o) {
			return "", Type{}, semantic("TYPE_MISMATCH", c.At, "All CASE results must be the same type or coercible to a common type. Cannot find common type between %s and %s", t, o)
		}
		if o.Known() && o.String() != t.String() {
			t = Type{Name: t.Name}
			if t.isNumber() {
				t = Type{}
			}
		}
	}
	return b.String() + " END)", t, nil
}

func (w *rewriter) subscript(x *Subscript, s *scope) (string, Type, error) {
	parts, types, err := w.exprs([]Expr{x.X, x.Index}, s)
	if err != nil {
		return "", Type{}, err
	}
	switch types[0].Name {
	case "map":
		return "(CASE WHEN map_contains(" + parts[0] + ", " + parts[1] + ") OR " + parts[0] + " IS NULL THEN " + parts[0] + "[" + parts[1] +
			"] ELSE " + w.raise("'INVALID_FUNCTION_ARGUMENT: Key not present in map'") + " END)", types[0].Elems[1], nil
	case "array":
		return "(CASE WHEN " + parts[1] + " BETWEEN 1 AND len(" + parts[0] + ") OR " + parts[0] + " IS NULL THEN " + parts[0] + "[" + parts[1] +
			"] ELSE " + w.raise("'INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or equal to array length'") + " END)", types[0].Elems[0], nil
	case "":
		return parts[0] + "[" + parts[1] + "]", Type{}, nil
	}
	return "", Type{}, semantic("TYPE_MISMATCH", x.At, "Cannot use %s for subscript of %s", types[1], types[0])
}

func (w *rewriter) array(a *Array, s *scope) (string, Type, error) {
	parts, types, err := w.exprs(a.Items, s)
	if err != nil {
		return "", Type{}, err
	}
	t := Type{Name: "array", Elems: []Type{firstKnown(types...)}}
	for _, e := range types {
		if !comparable(t.Elems[0], e) {
			return "", Type{}, semantic("TYPE_MISMATCH", a.At, "All ARRAY elements must be the same type: %s", t.Elems[0])
		}
	}
	if t.Elems[0].isText() {
		t.Elems[0] = simple("varchar")
	}
	return "[" + strings.Join(parts, ", ") + "]", t, nil
}

func (w *rewriter) row(r *Row, s *scope) (string, Type, error) {
	parts, types, err := w.exprs(r.Items, s)
	if err != nil {
		return "", Type{}, err
	}
	t := Type{Name: "row", Elems: types, Fields: make([]string, len(types))}
	for i := range parts {
		parts[i] = quoteString(t.fieldName(i)) + ": " + parts[i]
	}
	return "{" + strings.Join(parts, ", ") + "}", t, nil
}

// atTimeZone keeps the instant; the engine shows every instant in UTC, so only
// UTC's own names can be asked for.
func (w *rewriter) atTimeZone(x *AtTimeZone, s *scope) (string, Type, error) {
	sql, t, err := w.expr(x.X, s)
	if err != nil {
		return "", Type{}, err
	}
	z, ok := x.Zone.(*Literal)
	if !ok || z.Kind != "STRING" {
		return "", Type{}, semantic("NOT_SUPPORTED", x.At, "AT TIME ZONE needs a constant zone")
	}
	if t.Name == "timestamp" {
		return "timezone(" + quoteString(z.Text) + ", " + sql + ")", Type{Name: "timestamp with time zone", Params: []int{3}}, nil
	}
	if up := strings.ToUpper(z.Text); up != "UTC" && up != "Z" && up != "GMT" && up != "+00:00" {
		return "", Type{}, semantic("NOT_SUPPORTED", x.At, "values of the zone %s are not supported by this engine; it shows instants in UTC", z.Text)
	}
	return sql, t, nil
}

// argument is a rewritten argument of a function.
type argument struct {
	sql string
	typ Type
	e   Expr
}

func (w *rewriter) call(c *Call, s *scope) (string, Type, error) {
	f, ok := functions[c.Name]
	if !ok {
		return "", Type{}, semantic("FUNCTION_NOT_FOUND", c.At, "Function '%s' not registered", c.Name)
	}
	if c.Star && c.Name != "count" {
		return "", Type{}, semantic("FUNCTION_NOT_FOUND", c.At, "Unexpected parameters (*) for function %s", c.Name)
	}
	if n := len(c.Args); !c.Star && (n < f.min || f.max >= 0 && n > f.max) {
		return "", Type{}, semantic("FUNCTION_NOT_FOUND", c.At, "Unexpected number of parameters for function %s", c.Name)
	}
	switch c.Name {
	case "mod":
		return w.binary(&Binary{Op: "%", L: c.Args[0], R: c.Args[1], At: c.At}, s)
	case "try":
		w.trying++
		defer func() { w.trying-- }()
	}
	if sql, ok := w.prefix(c, s); ok {
		return sql, simple("varchar"), nil
	}
	args := make([]argument, len(c.Args))
	for i, a := range c.Args {
		if l, ok := a.(*Lambda); ok {
			sql, t, err := w.lambdaArg(l, f, s)
			if err != nil {
				return "", Type{}, err
			}
			args[i] = argument{sql, t, a}
			continue
		}
		sql, t, err := w.expr(a, s)
		if err != nil {
			return "", Type{}, err
		}
		if p, ok := a.(*Param); ok { // w.expr has checked the index
			a = w.params[p.Index]
		}
		args[i] = argument{sql, t, a}
	}
	if (c.Over != nil || c.OverName != "") && !f.aggregate && !f.window {
		return "", Type{}, semantic("FUNCTION_NOT_WINDOW", c.At, "Not a window function: %s", c.Name)
	}
	if f.window && c.Over == nil && c.OverName == "" {
		return "", Type{}, semantic("MISSING_OVER", c.At, "Window function %s requires an OVER clause", c.Name)
	}
	if f.aggregate || f.window {
		return w.aggregate(c, f, args, s)
	}
	return f.make(c, args)
}

func (w *rewriter) lambdaArg(l *Lambda, f function, s *scope) (string, Type, error) {
	if !f.lambda {
		return "", Type{}, semantic("TYPE_MISMATCH", l.At, "this function takes no lambda")
	}
	inner := &scope{outer: s, lambdas: map[string]bool{}}
	for _, p := range l.Params {
		inner.lambdas[p] = true
	}
	body, t, err := w.expr(l.Body, inner)
	if err != nil {
		return "", Type{}, err
	}
	return "lambda " + identList(l.Params) + ": " + body, t, nil
}

// aggregate adds what can follow an aggregate: DISTINCT and ORDER BY inside,
// FILTER and OVER behind.
func (w *rewriter) aggregate(c *Call, f function, args []argument, s *scope) (string, Type, error) {
	inner := ""
	if c.Distinct {
		inner = "DISTINCT "
	}
	tail := ""
	order := c.OrderBy
	if len(c.Within) > 0 {
		order = c.Within
	}
	if len(order) > 0 {
		o, err := w.orderBy(order, s, nil)
		if err != nil {
			return "", Type{}, err
		}
		tail = " ORDER BY " + o
	}
	if c.IgnoreNulls {
		tail += " IGNORE NULLS"
	}
	behind := ""
	if c.Filter != nil {
		sql, _, err := w.expr(c.Filter, s)
		if err != nil {
			return "", Type{}, err
		}
		behind = " FILTER (WHERE " + sql + ")"
	}
	switch {
	case c.OverName != "":
		behind += " OVER " + quoteIdent(c.OverName)
	case c.Over != nil:
		spec, err := w.window(c.Over, s)
		if err != nil {
			return "", Type{}, err
		}
		behind += " OVER (" + spec + ")"
	}
	sql, t, err := f.aggregateSQL(c, args, inner, tail, behind)
	if err != nil {
		return "", Type{}, err
	}
	return sql, t, nil
}

func notSupported(c *Call, format string, args ...any) (string, Type, error) {
	return "", Type{}, semantic("NOT_SUPPORTED", c.At, "%s", fmt.Sprintf(format, args...))
}
