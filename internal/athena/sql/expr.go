package sql

import (
	"strconv"
	"strings"
)

// Precedence, from loose to tight: OR, AND, NOT, predicates, ||, + -, * / %,
// unary, postfix (Trino's SqlBase.g4).

func (p *parser) expr() (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	left, err := p.and()
	for err == nil && p.is("OR") {
		at := p.at()
		p.take()
		var r Expr
		if r, err = p.and(); err == nil {
			left = &Binary{Op: "OR", L: left, R: r, At: at}
		}
	}
	return left, err
}

func (p *parser) and() (Expr, error) {
	left, err := p.not()
	for err == nil && p.is("AND") {
		at := p.at()
		p.take()
		var r Expr
		if r, err = p.not(); err == nil {
			left = &Binary{Op: "AND", L: left, R: r, At: at}
		}
	}
	return left, err
}

func (p *parser) not() (Expr, error) {
	if !p.is("NOT") {
		return p.predicate()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	at := p.at()
	p.take()
	x, err := p.not()
	return &Unary{Op: "NOT", X: x, At: at}, err
}

func (p *parser) predicate() (Expr, error) {
	left, err := p.concat()
	if err != nil {
		return nil, err
	}
	for {
		at := p.at()
		t := p.peek()
		if t.kind == tOp && strings.Contains(" = <> != < <= > >= ", " "+t.text+" ") {
			p.take()
			op := t.text
			if op == "!=" {
				op = "<>"
			}
			if p.is("ANY") || p.is("SOME") || p.is("ALL") {
				if n := p.peekAt(1); n.kind == tOp && n.text == "(" {
					if left, err = p.quantified(left, op, at); err != nil {
						return nil, err
					}
					continue
				}
			}
			r, err := p.concat()
			if err != nil {
				return nil, err
			}
			left = &Binary{Op: op, L: left, R: r, At: at}
			continue
		}
		not := p.is("NOT") && (p.peekAt(1).up == "BETWEEN" || p.peekAt(1).up == "IN" || p.peekAt(1).up == "LIKE")
		if not {
			p.take()
		}
		switch {
		case p.word("BETWEEN"):
			left, err = p.between(left, not, at)
		case p.word("IN"):
			left, err = p.in(left, not, at)
		case p.word("LIKE"):
			left, err = p.like(left, not, at)
		case p.word("IS"):
			left, err = p.isTest(left, at)
		default:
			return left, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) quantified(x Expr, op string, at Pos) (Expr, error) {
	all := p.take().up == "ALL"
	p.take()
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return &Quantified{X: x, Op: op, All: all, Query: q, At: at}, p.expectOp(")")
}

func (p *parser) between(x Expr, not bool, at Pos) (Expr, error) {
	lo, err := p.concat()
	if err != nil {
		return nil, err
	}
	if err := p.expect("AND"); err != nil {
		return nil, err
	}
	hi, err := p.concat()
	return &Between{X: x, Lo: lo, Hi: hi, Not: not, At: at}, err
}

func (p *parser) in(x Expr, not bool, at Pos) (Expr, error) {
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	e := &In{X: x, Not: not, At: at}
	if p.startsQuery() {
		q, err := p.query()
		if err != nil {
			return nil, err
		}
		e.Query = q
		return e, p.expectOp(")")
	}
	for {
		v, err := p.expr()
		if err != nil {
			return nil, err
		}
		e.List = append(e.List, v)
		if !p.op(",") {
			return e, p.expectOp(")")
		}
	}
}

func (p *parser) like(x Expr, not bool, at Pos) (Expr, error) {
	e := &Like{X: x, Not: not, At: at}
	var err error
	if e.Pattern, err = p.concat(); err != nil {
		return nil, err
	}
	if p.word("ESCAPE") {
		e.Escape, err = p.concat()
	}
	return e, err
}

func (p *parser) isTest(x Expr, at Pos) (Expr, error) {
	not := p.word("NOT")
	if p.word("NULL") {
		return &IsNull{X: x, Not: not, At: at}, nil
	}
	if p.word("DISTINCT", "FROM") {
		r, err := p.concat()
		return &Distinct{L: x, R: r, Not: not, At: at}, err
	}
	return nil, p.unexpected("'DISTINCT', 'NULL'")
}

func (p *parser) concat() (Expr, error) { return p.leftAssoc(p.additive, "||") }

func (p *parser) additive() (Expr, error) { return p.leftAssoc(p.multiplicative, "+", "-") }

func (p *parser) multiplicative() (Expr, error) { return p.leftAssoc(p.atZone, "*", "/", "%") }

func (p *parser) leftAssoc(next func() (Expr, error), ops ...string) (Expr, error) {
	left, err := next()
	for err == nil {
		t, at := p.peek(), p.at()
		found := false
		for _, op := range ops {
			found = found || t.kind == tOp && t.text == op
		}
		if !found {
			return left, nil
		}
		p.take()
		var r Expr
		if r, err = next(); err == nil {
			left = &Binary{Op: t.text, L: left, R: r, At: at}
		}
	}
	return left, err
}

func (p *parser) atZone() (Expr, error) {
	x, err := p.unary()
	for err == nil && p.is("AT", "TIME", "ZONE") {
		at := p.at()
		p.pos += 3
		var z Expr
		if z, err = p.unary(); err == nil {
			x = &AtTimeZone{X: x, Zone: z, At: at}
		}
	}
	return x, err
}

func (p *parser) unary() (Expr, error) {
	if !p.isOp("-") && !p.isOp("+") {
		return p.postfix()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	at := p.at()
	op := p.take().text
	x, err := p.unary()
	return &Unary{Op: op, X: x, At: at}, err
}

// postfix: subscripts and fields.
func (p *parser) postfix() (Expr, error) {
	x, err := p.primary()
	for err == nil {
		at := p.at()
		switch {
		case p.op("["):
			i, err := p.expr()
			if err != nil {
				return nil, err
			}
			if err := p.expectOp("]"); err != nil {
				return nil, err
			}
			x = &Subscript{X: x, Index: i, At: at}
		case p.isOp(".") && !isRef(x):
			p.take()
			var name string
			if name, err = p.ident(); err == nil {
				x = &Field{Base: x, Name: name, At: at}
			}
		default:
			return x, nil
		}
	}
	return x, err
}

func isRef(x Expr) bool { _, ok := x.(*Ref); return ok }

func (p *parser) primary() (Expr, error) {
	t, at := p.peek(), p.at()
	switch t.kind {
	case tString:
		p.take()
		return &Literal{"STRING", t.text, at}, nil
	case tBinary:
		p.take()
		return &Literal{"BINARY", t.text, at}, nil
	case tInteger:
		p.take()
		return &Literal{"INTEGER", strings.ReplaceAll(t.text, "_", ""), at}, nil
	case tDecimal:
		p.take()
		return &Literal{"DECIMAL", strings.ReplaceAll(t.text, "_", ""), at}, nil
	case tDouble:
		p.take()
		return &Literal{"DOUBLE", t.text, at}, nil
	case tParam:
		p.take()
		p.params++
		return &Param{Index: p.params - 1, At: at}, nil
	case tOp:
		if t.text == "(" {
			return p.paren()
		}
	case tIdent:
		if e, err := p.keyword(t, at); e != nil || err != nil {
			return e, err
		}
	}
	return p.reference()
}

// paren: a query, a row, a lambda's parameters, or an expression.
func (p *parser) paren() (Expr, error) {
	at := p.at()
	if params, ok := p.lambdaParams(); ok {
		return p.lambda(params, at)
	}
	p.take()
	if p.startsQuery() {
		q, err := p.query()
		if err != nil {
			return nil, err
		}
		return &Scalar{Query: q, At: at}, p.expectOp(")")
	}
	var items []Expr
	for {
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		items = append(items, e)
		if !p.op(",") {
			break
		}
	}
	if err := p.expectOp(")"); err != nil {
		return nil, err
	}
	if len(items) == 1 {
		return items[0], nil
	}
	return &Row{Items: items, At: at}, nil
}

// lambdaParams reads (x, y) -> if it stands next, without the arrow.
func (p *parser) lambdaParams() ([]string, bool) {
	save := p.pos
	p.take()
	var params []string
	for !p.isOp(")") {
		if !p.isIdent() {
			p.pos = save
			return nil, false
		}
		params = append(params, strings.ToLower(p.take().text))
		if !p.op(",") {
			break
		}
	}
	if !p.op(")") || !p.isOp("->") {
		p.pos = save
		return nil, false
	}
	return params, true
}

func (p *parser) lambda(params []string, at Pos) (Expr, error) {
	p.take() // ->
	body, err := p.expr()
	return &Lambda{Params: params, Body: body, At: at}, err
}

// keyword parses expressions that begin with a word of their own; nil when the
// word begins a name.
func (p *parser) keyword(t token, at Pos) (Expr, error) {
	next := p.peekAt(1)
	opens := next.kind == tOp && next.text == "("
	switch t.up {
	case "NULL":
		p.take()
		return &Literal{"NULL", "", at}, nil
	case "TRUE", "FALSE":
		p.take()
		return &Literal{"BOOLEAN", strings.ToLower(t.up), at}, nil
	case "CASE":
		return p.caseExpr()
	case "CAST", "TRY_CAST":
		if opens {
			return p.cast(t.up == "TRY_CAST")
		}
	case "EXISTS":
		p.take()
		if err := p.expectOp("("); err != nil {
			return nil, err
		}
		q, err := p.query()
		if err != nil {
			return nil, err
		}
		return &Exists{Query: q, At: at}, p.expectOp(")")
	case "INTERVAL":
		if next.kind == tString || next.kind == tOp && (next.text == "-" || next.text == "+") {
			return p.interval()
		}
	case "DATE", "TIME", "TIMESTAMP", "DECIMAL", "CHAR", "BIGINT", "DOUBLE", "REAL", "JSON", "UUID", "IPADDRESS":
		if next.kind == tString {
			p.take()
			return &Literal{t.up, p.take().text, at}, nil
		}
	case "ARRAY":
		if next.kind == tOp && next.text == "[" {
			return p.array()
		}
	case "ROW":
		if opens {
			p.take()
			items, err := p.exprList()
			return &Row{Items: items, At: at}, err
		}
	case "EXTRACT":
		if opens {
			p.pos += 2
			unit := p.take().up
			if err := p.expect("FROM"); err != nil {
				return nil, err
			}
			x, err := p.expr()
			if err != nil {
				return nil, err
			}
			return &Extract{Unit: strings.ToLower(unit), X: x, At: at}, p.expectOp(")")
		}
	case "CURRENT_DATE", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP", "CURRENT_TIME", "LOCALTIME", "CURRENT_USER", "CURRENT_CATALOG", "CURRENT_SCHEMA":
		p.take()
		if opens {
			p.take()
			if p.peek().kind == tInteger {
				p.take()
			}
			if err := p.expectOp(")"); err != nil {
				return nil, err
			}
		}
		return &Call{Name: strings.ToLower(t.up), At: at}, nil
	case "TRIM", "LISTAGG", "NORMALIZE", "GROUPING":
		if opens {
			return p.call([]string{strings.ToLower(t.up)}, at)
		}
	}
	return nil, nil
}

func (p *parser) caseExpr() (Expr, error) {
	c := &Case{At: p.at()}
	p.take()
	var err error
	if !p.is("WHEN") {
		if c.X, err = p.expr(); err != nil {
			return nil, err
		}
	}
	for p.word("WHEN") {
		var w When
		if w.Cond, err = p.expr(); err != nil {
			return nil, err
		}
		if err = p.expect("THEN"); err != nil {
			return nil, err
		}
		if w.Then, err = p.expr(); err != nil {
			return nil, err
		}
		c.Whens = append(c.Whens, w)
	}
	if len(c.Whens) == 0 {
		return nil, p.unexpected("'WHEN'")
	}
	if p.word("ELSE") {
		if c.Else, err = p.expr(); err != nil {
			return nil, err
		}
	}
	return c, p.expect("END")
}

func (p *parser) cast(try bool) (Expr, error) {
	c := &Cast{Try: try, At: p.at()}
	p.pos += 2
	var err error
	if c.X, err = p.expr(); err != nil {
		return nil, err
	}
	if err = p.expect("AS"); err != nil {
		return nil, err
	}
	if c.To, err = p.trinoType(); err != nil {
		return nil, err
	}
	return c, p.expectOp(")")
}

func (p *parser) interval() (Expr, error) {
	i := &Interval{At: p.at()}
	p.take()
	if p.op("-") {
		i.Negative = true
	} else {
		p.op("+")
	}
	var err error
	if i.Text, err = p.string(); err != nil {
		return nil, err
	}
	unit := func() (string, error) {
		t := p.peek()
		switch t.up {
		case "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND":
			p.take()
			return strings.ToLower(t.up), nil
		}
		return "", p.unexpected("'DAY', 'HOUR', 'MINUTE', 'MONTH', 'SECOND', 'YEAR'")
	}
	if i.Unit, err = unit(); err != nil {
		return nil, err
	}
	if p.word("TO") {
		i.To, err = unit()
	}
	return i, err
}

func (p *parser) array() (Expr, error) {
	a := &Array{At: p.at()}
	p.pos += 2
	for !p.isOp("]") {
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		a.Items = append(a.Items, e)
		if !p.op(",") {
			break
		}
	}
	return a, p.expectOp("]")
}

// reference: a lambda, a function call or a chain of names.
func (p *parser) reference() (Expr, error) {
	at := p.at()
	if !p.isIdent() {
		return nil, p.unexpected("<expression>")
	}
	if n := p.peekAt(1); n.kind == tOp && n.text == "->" {
		name, err := p.ident()
		if err != nil {
			return nil, err
		}
		return p.lambda([]string{name}, at)
	}
	r := &Ref{At: at}
	for {
		name, err := p.ident()
		if err != nil {
			return nil, err
		}
		r.Parts = append(r.Parts, name)
		if p.isOp("(") {
			return p.call(r.Parts, at)
		}
		if !p.isOp(".") {
			return r, nil
		}
		p.take()
	}
}

func (p *parser) call(name []string, at Pos) (Expr, error) {
	if p.peek().kind == tIdent { // TRIM and its kin arrive with their word
		p.take()
	}
	c := &Call{Name: strings.Join(name, "."), At: at}
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	if p.op("*") {
		c.Star = true
	} else if !p.isOp(")") {
		if err := p.callArgs(c); err != nil {
			return nil, err
		}
	}
	if err := p.expectOp(")"); err != nil {
		return nil, err
	}
	return c, p.callTail(c)
}

func (p *parser) callArgs(c *Call) error {
	c.Distinct = p.word("DISTINCT")
	if !c.Distinct {
		p.word("ALL")
	}
	if c.Name == "trim" {
		for _, side := range []string{"LEADING", "TRAILING", "BOTH"} {
			if p.word(side) {
				c.Name = "trim_" + strings.ToLower(side)
			}
		}
		if p.word("FROM") {
			x, err := p.expr()
			c.Args = []Expr{x}
			return err
		}
	}
	for {
		e, err := p.expr()
		if err != nil {
			return err
		}
		c.Args = append(c.Args, e)
		if strings.HasPrefix(c.Name, "trim") && p.word("FROM") {
			x, err := p.expr()
			c.Args = []Expr{x, e}
			return err
		}
		if !p.op(",") {
			break
		}
	}
	if p.is("ORDER", "BY") {
		var err error
		c.OrderBy, err = p.orderBy()
		return err
	}
	if p.word("ON", "OVERFLOW") {
		for !p.isOp(")") && p.peek().kind != tEOF {
			p.take()
		}
	}
	return nil
}

func (p *parser) callTail(c *Call) (err error) {
	if p.word("WITHIN", "GROUP") {
		if err := p.expectOp("("); err != nil {
			return err
		}
		if c.Within, err = p.orderBy(); err != nil {
			return err
		}
		if err := p.expectOp(")"); err != nil {
			return err
		}
	}
	if p.is("FILTER") && p.peekAt(1).text == "(" {
		p.pos += 2
		if err := p.expect("WHERE"); err != nil {
			return err
		}
		if c.Filter, err = p.expr(); err != nil {
			return err
		}
		if err := p.expectOp(")"); err != nil {
			return err
		}
	}
	if p.is("IGNORE", "NULLS") {
		p.pos += 2
		c.IgnoreNulls = true
	} else {
		p.word("RESPECT", "NULLS")
	}
	if !p.word("OVER") {
		return nil
	}
	if !p.isOp("(") {
		c.OverName, err = p.ident()
		return err
	}
	c.Over, err = p.window()
	return err
}

func (p *parser) window() (*Window, error) {
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	w := &Window{}
	var err error
	if p.isIdent() && !p.is("PARTITION") && !p.is("ROWS") && !p.is("RANGE") && !p.is("GROUPS") {
		if w.Base, err = p.ident(); err != nil {
			return nil, err
		}
	}
	if p.word("PARTITION") {
		if err := p.expect("BY"); err != nil {
			return nil, err
		}
		for {
			e, err := p.expr()
			if err != nil {
				return nil, err
			}
			w.PartitionBy = append(w.PartitionBy, e)
			if !p.op(",") {
				break
			}
		}
	}
	if p.is("ORDER") {
		if w.OrderBy, err = p.orderBy(); err != nil {
			return nil, err
		}
	}
	if p.is("ROWS") || p.is("RANGE") || p.is("GROUPS") {
		w.Frame = p.take().up
		between := p.word("BETWEEN")
		if w.Start, err = p.bound(); err != nil {
			return nil, err
		}
		if between {
			if err := p.expect("AND"); err != nil {
				return nil, err
			}
			if w.End, err = p.bound(); err != nil {
				return nil, err
			}
		}
	}
	return w, p.expectOp(")")
}

func (p *parser) bound() (Bound, error) {
	for _, k := range []string{"UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING", "CURRENT ROW"} {
		if p.word(strings.Fields(k)...) {
			return Bound{Kind: k}, nil
		}
	}
	n, err := p.concat()
	if err != nil {
		return Bound{}, err
	}
	switch {
	case p.word("PRECEDING"):
		return Bound{"PRECEDING", n}, nil
	case p.word("FOLLOWING"):
		return Bound{"FOLLOWING", n}, nil
	}
	return Bound{}, p.unexpected("'FOLLOWING', 'PRECEDING'")
}

// trinoTypes are the names of types; Hive's spellings are accepted in CAST,
// as Athena does for int and string only where Trino does (integer's alias).
var trinoTypes = map[string]string{"boolean": "boolean", "tinyint": "tinyint", "smallint": "smallint", "int": "integer", "integer": "integer",
	"bigint": "bigint", "real": "real", "double": "double", "decimal": "decimal", "varchar": "varchar", "char": "char", "varbinary": "varbinary",
	"date": "date", "time": "time", "timestamp": "timestamp", "json": "json", "uuid": "uuid"}

func (p *parser) trinoType() (Type, error) {
	if err := p.enter(); err != nil {
		return Type{}, err
	}
	defer p.leave()
	t := p.peek()
	word := strings.ToLower(t.text)
	if t.kind != tIdent {
		return Type{}, p.unexpected("<type>")
	}
	p.take()
	switch word {
	case "array", "map":
		open, shut := "(", ")"
		if p.isOp("<") {
			open, shut = "<", ">"
		}
		if err := p.expectOp(open); err != nil {
			return Type{}, err
		}
		out := Type{Name: word}
		for {
			e, err := p.trinoType()
			if err != nil {
				return Type{}, err
			}
			out.Elems = append(out.Elems, e)
			if !p.op(",") {
				break
			}
		}
		if want := map[string]int{"array": 1, "map": 2}[word]; len(out.Elems) != want {
			return Type{}, p.unexpected("<type>")
		}
		return out, p.expectOp(shut)
	case "row":
		return p.rowType()
	}
	name, ok := trinoTypes[word]
	if !ok {
		return Type{}, &SyntaxError{t.line, t.col, "Unknown type: " + word, "Unknown type: <value>"}
	}
	out := Type{Name: name}
	if p.op("(") {
		for {
			n, err := strconv.Atoi(p.peek().text)
			if err != nil || p.peek().kind != tInteger {
				return Type{}, p.unexpected("<integer>")
			}
			p.take()
			out.Params = append(out.Params, n)
			if !p.op(",") {
				break
			}
		}
		if err := p.expectOp(")"); err != nil {
			return Type{}, err
		}
	}
	if name == "timestamp" || name == "time" {
		if p.word("WITH", "TIME", "ZONE") {
			out.Name += " with time zone"
		} else {
			p.word("WITHOUT", "TIME", "ZONE")
		}
	}
	return out, nil
}

func (p *parser) rowType() (Type, error) {
	out := Type{Name: "row"}
	if err := p.expectOp("("); err != nil {
		return out, err
	}
	for {
		field := ""
		// "name type" or just "type".
		if n := p.peekAt(1); n.kind == tIdent && p.isIdent() {
			var err error
			if field, err = p.ident(); err != nil {
				return out, err
			}
		}
		e, err := p.trinoType()
		if err != nil {
			return out, err
		}
		out.Fields, out.Elems = append(out.Fields, field), append(out.Elems, e)
		if !p.op(",") {
			return out, p.expectOp(")")
		}
	}
}
