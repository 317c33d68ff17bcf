package sql

import (
	"fmt"
	"strings"
)

// Parse parses one statement, which may end in a semicolon.
func Parse(text string) (*Statement, error) {
	toks, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{toks: toks, src: text}
	st, err := p.statement()
	if err != nil {
		return nil, err
	}
	p.op(";")
	if p.peek().kind != tEOF {
		if p.pos > 0 && p.toks[p.pos-1].text == ";" {
			return nil, &SyntaxError{p.peek().line, p.peek().col, onlyOne + text, onlyOne + "<statement>"}
		}
		return nil, p.unexpected("<EOF>")
	}
	st.Params = p.params
	return st, nil
}

type parser struct {
	toks   []token
	pos    int
	depth  int
	params int
	src    string
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) peekAt(n int) token {
	if p.pos+n < len(p.toks) {
		return p.toks[p.pos+n]
	}
	return p.toks[len(p.toks)-1]
}

func (p *parser) take() token {
	t := p.toks[p.pos]
	if t.kind != tEOF {
		p.pos++
	}
	return t
}

func (p *parser) at() Pos { t := p.peek(); return Pos{t.line, t.col} }

const onlyOne = "Only one sql statement is allowed. Got: "

// unexpected is Trino's message for a token that cannot stand where it does.
func (p *parser) unexpected(expecting string) error {
	t := p.peek()
	shown := "<EOF>"
	if t.kind != tEOF {
		shown = p.src[t.start:t.end]
	}
	err := &SyntaxError{Line: t.line, Col: t.col, Message: fmt.Sprintf("mismatched input '%s'. Expecting: %s", shown, expecting)}
	switch t.kind {
	case tEOF, tIdent, tOp, tParam:
	default: // a quoted name as well: who mistakes the quotes writes a value so
		err.redacted = "mismatched input '<value>'. Expecting: " + expecting
	}
	return err
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return &SyntaxError{Line: p.peek().line, Col: p.peek().col, Message: "the statement is nested too deeply"}
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// is reports whether the next words are these.
func (p *parser) is(words ...string) bool {
	for i, w := range words {
		if t := p.peekAt(i); t.kind != tIdent || t.up != w {
			return false
		}
	}
	return true
}

// word takes the next words if they are these.
func (p *parser) word(words ...string) bool {
	if !p.is(words...) {
		return false
	}
	p.pos += len(words)
	return true
}

func (p *parser) expect(words ...string) error {
	for _, w := range words {
		if !p.word(w) {
			return p.unexpected("'" + w + "'")
		}
	}
	return nil
}

func (p *parser) isOp(op string) bool { t := p.peek(); return t.kind == tOp && t.text == op }

func (p *parser) op(op string) bool {
	if p.isOp(op) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expectOp(op string) error {
	if !p.op(op) {
		return p.unexpected("'" + op + "'")
	}
	return nil
}

// reserved words of Trino's grammar: they are no identifiers unless quoted.
var reserved = map[string]bool{}

func init() {
	for _, w := range strings.Fields(`ALTER AND AS BETWEEN BY CASE CAST CONSTRAINT CREATE CROSS CUBE CURRENT_CATALOG CURRENT_DATE
		CURRENT_PATH CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DEALLOCATE DELETE DESCRIBE DISTINCT
		DROP ELSE END ESCAPE EXCEPT EXECUTE EXISTS EXTRACT FALSE FOR FROM FULL GROUP GROUPING HAVING IN INNER INSERT INTERSECT
		INTO IS JOIN LEFT LIKE LISTAGG LOCALTIME LOCALTIMESTAMP NATURAL NORMALIZE NOT NULL ON OR ORDER OUTER PREPARE RECURSIVE RIGHT ROLLUP
		SELECT SKIP TABLE THEN TRIM TRUE UESCAPE UNION UNNEST USING VALUES WHEN WHERE WITH`) {
		reserved[w] = true
	}
}

func (p *parser) isIdent() bool {
	t := p.peek()
	return t.kind == tQuoted || t.kind == tBack || t.kind == tIdent && !reserved[t.up]
}

// ident takes an identifier, lower-cased: Trino and Hive ignore case.
func (p *parser) ident() (string, error) {
	if !p.isIdent() {
		return "", p.unexpected("<identifier>")
	}
	return strings.ToLower(p.take().text), nil
}

// name takes a qualified name. Hive's parser takes no double quotes.
func (p *parser) name(hive bool) (Name, error) {
	n := Name{Pos: p.at()}
	for {
		if hive && p.peek().kind == tQuoted {
			return n, p.unexpected("<identifier>")
		}
		// Hive reserves less, and the catalogue's table may be called anything.
		if t := p.peek(); hive && t.kind == tIdent {
			p.pos++
			n.Parts = append(n.Parts, strings.ToLower(t.text))
		} else {
			s, err := p.ident()
			if err != nil {
				return n, err
			}
			n.Parts = append(n.Parts, s)
		}
		if len(n.Parts) == 3 || !p.op(".") {
			return n, nil
		}
	}
}

func (p *parser) string() (string, error) {
	if p.peek().kind != tString && p.peek().kind != tQuoted {
		return "", p.unexpected("<string>")
	}
	return p.take().text, nil
}

// statement picks the grammar by the first words.
func (p *parser) statement() (*Statement, error) {
	st := func(typ, sub string, node any, err error) (*Statement, error) {
		if err != nil {
			return nil, err
		}
		return &Statement{Type: typ, Substatement: sub, Node: node}, nil
	}
	t := p.peek()
	switch {
	case p.is("SELECT"), p.is("WITH"), p.is("VALUES"), p.is("TABLE"), p.isOp("("):
		q, err := p.query()
		return st("DML", "SELECT", q, err)
	case p.word("EXPLAIN"):
		return p.explain()
	case p.is("CREATE"), p.is("DROP"), p.is("ALTER"), p.is("MSCK"), p.is("SHOW"), p.is("DESCRIBE"), p.is("DESC"):
		return p.definition()
	case p.is("INSERT"), p.is("UPDATE"), p.is("DELETE"), p.is("MERGE"), p.is("UNLOAD"):
		p.skipRest()
		return st("DML", t.up, &Unsupported{What: t.up}, nil)
	case p.is("OPTIMIZE"), p.is("VACUUM"):
		p.skipRest()
		return st(map[string]string{"OPTIMIZE": "DDL", "VACUUM": "DML"}[t.up], t.up, &Unsupported{What: t.up}, nil)
	case p.is("PREPARE"), p.is("EXECUTE"), p.is("DEALLOCATE"):
		p.skipRest()
		return st("DML", t.up, &Unsupported{What: t.up}, nil)
	case p.is("GRANT"), p.is("REVOKE"), p.is("SET"), p.is("USE"), p.is("CALL"), p.is("START"), p.is("COMMIT"), p.is("ROLLBACK"), p.is("ANALYZE"), p.is("TRUNCATE"), p.is("COMMENT"), p.is("REFRESH"), p.is("RESET"):
		return nil, &UnsupportedError{"Queries of this type are not supported"}
	}
	return nil, p.unexpected("'ALTER', 'ANALYZE', 'CALL', 'COMMENT', 'COMMIT', 'CREATE', 'DEALLOCATE', 'DELETE', 'DENY', 'DESC', 'DESCRIBE', 'DROP', 'EXECUTE', 'EXPLAIN', 'GRANT', 'INSERT', 'MERGE', 'PREPARE', 'REFRESH', 'RESET', 'REVOKE', 'ROLLBACK', 'SET', 'SHOW', 'START', 'TRUNCATE', 'UPDATE', 'USE', <query>")
}

// skipRest moves to the end of a statement that is not looked into.
func (p *parser) skipRest() {
	for p.peek().kind != tEOF && !(p.isOp(";") && p.peekAt(1).kind == tEOF) {
		if p.peek().kind == tParam {
			p.params++
		}
		p.pos++
	}
}

func (p *parser) explain() (*Statement, error) {
	e := &Explain{Analyze: p.word("ANALYZE")}
	if p.op("(") {
		for !p.op(")") {
			if p.peek().kind == tEOF {
				return nil, p.unexpected("')'")
			}
			p.pos++
		}
	}
	p.word("VERBOSE")
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	e.Query = q
	return &Statement{Type: "DML", Substatement: "EXPLAIN", Node: e}, nil
}

// query: [WITH …] body [ORDER BY …] [OFFSET …] [LIMIT … | FETCH …].
func (p *parser) query() (*Query, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	q := &Query{Pos: p.at()}
	var err error
	if p.word("WITH") {
		q.Recursive = p.word("RECURSIVE")
		for {
			c := CTE{Pos: p.at()}
			if c.Name, err = p.ident(); err != nil {
				return nil, err
			}
			if p.isOp("(") {
				if c.Columns, err = p.idents(); err != nil {
					return nil, err
				}
			}
			if err := p.expect("AS"); err != nil {
				return nil, err
			}
			if err := p.expectOp("("); err != nil {
				return nil, err
			}
			if c.Query, err = p.query(); err != nil {
				return nil, err
			}
			if err := p.expectOp(")"); err != nil {
				return nil, err
			}
			q.With = append(q.With, c)
			if !p.op(",") {
				break
			}
		}
	}
	if q.Body, err = p.body(0); err != nil {
		return nil, err
	}
	if p.is("ORDER") {
		if q.OrderBy, err = p.orderBy(); err != nil {
			return nil, err
		}
	}
	return q, p.limits(q)
}

func (p *parser) limits(q *Query) (err error) {
	if p.word("OFFSET") {
		if q.Offset, err = p.primary(); err != nil {
			return err
		}
		if !p.word("ROWS") {
			p.word("ROW")
		}
	}
	switch {
	case p.word("LIMIT"):
		if p.word("ALL") {
			return nil
		}
		q.Limit, err = p.primary()
	case p.word("FETCH"):
		if !p.word("FIRST") && !p.word("NEXT") {
			return p.unexpected("'FIRST', 'NEXT'")
		}
		q.Limit = &Literal{Kind: "INTEGER", Text: "1", At: p.at()}
		if !p.is("ROW") && !p.is("ROWS") {
			if q.Limit, err = p.primary(); err != nil {
				return err
			}
		}
		if !p.word("ROWS") && !p.word("ROW") {
			return p.unexpected("'ROW', 'ROWS'")
		}
		err = p.expect("ONLY")
	}
	return err
}

func (p *parser) idents() ([]string, error) {
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	var out []string
	for {
		s, err := p.ident()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		if !p.op(",") {
			return out, p.expectOp(")")
		}
	}
}

// body parses set operations; INTERSECT binds tighter than UNION and EXCEPT.
func (p *parser) body(min int) (Body, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	left, err := p.term()
	if err != nil {
		return nil, err
	}
	for {
		prec := 0
		switch {
		case p.is("UNION"), p.is("EXCEPT"):
			prec = 1
		case p.is("INTERSECT"):
			prec = 2
		}
		if prec == 0 || prec <= min {
			return left, nil
		}
		op := p.take().up
		all := p.word("ALL")
		if !all {
			p.word("DISTINCT")
		}
		right, err := p.body(prec)
		if err != nil {
			return nil, err
		}
		left = &SetOp{Op: op, All: all, Left: left, Right: right}
	}
}

func (p *parser) term() (Body, error) {
	switch {
	case p.is("SELECT"):
		return p.selectBody()
	case p.word("VALUES"):
		v := &Values{}
		for {
			e, err := p.expr()
			if err != nil {
				return nil, err
			}
			if r, ok := e.(*Row); ok {
				v.Rows = append(v.Rows, r.Items)
			} else {
				v.Rows = append(v.Rows, []Expr{e})
			}
			if !p.op(",") {
				return v, nil
			}
		}
	case p.word("TABLE"):
		n, err := p.name(false)
		return &TableBody{Name: n}, err
	case p.op("("):
		q, err := p.query()
		if err != nil {
			return nil, err
		}
		return q, p.expectOp(")")
	}
	return nil, p.unexpected("'(', 'SELECT', 'TABLE', 'VALUES'")
}

func (p *parser) selectBody() (Body, error) {
	s := &Select{Pos: p.at()}
	p.take()
	s.Distinct = p.word("DISTINCT")
	if !s.Distinct {
		p.word("ALL")
	}
	for {
		it, err := p.selectItem()
		if err != nil {
			return nil, err
		}
		s.Items = append(s.Items, it)
		if !p.op(",") {
			break
		}
	}
	var err error
	if p.word("FROM") {
		for {
			r, err := p.relation()
			if err != nil {
				return nil, err
			}
			s.From = append(s.From, r)
			if !p.op(",") {
				break
			}
		}
	}
	if p.word("WHERE") {
		if s.Where, err = p.expr(); err != nil {
			return nil, err
		}
	}
	if p.word("GROUP") {
		if err := p.expect("BY"); err != nil {
			return nil, err
		}
		if s.GroupBy, err = p.groupBy(); err != nil {
			return nil, err
		}
	}
	if p.word("HAVING") {
		if s.Having, err = p.expr(); err != nil {
			return nil, err
		}
	}
	if p.is("WINDOW") && p.peekAt(2).up == "AS" {
		p.take()
		for {
			w := NamedWindow{}
			if w.Name, err = p.ident(); err != nil {
				return nil, err
			}
			if err = p.expect("AS"); err != nil {
				return nil, err
			}
			if w.Window, err = p.window(); err != nil {
				return nil, err
			}
			s.Windows = append(s.Windows, w)
			if !p.op(",") {
				break
			}
		}
	}
	return s, nil
}

func (p *parser) selectItem() (SelectItem, error) {
	it := SelectItem{Pos: p.at()}
	if p.op("*") {
		it.Star = true
		return it, nil
	}
	// t.* and a.b.*
	for n := 0; p.peekAt(n).kind != tEOF && (p.peekAt(n).kind == tIdent || p.peekAt(n).kind == tQuoted); n += 2 {
		dot := p.peekAt(n + 1)
		if dot.kind != tOp || dot.text != "." {
			break
		}
		if star := p.peekAt(n + 2); star.kind == tOp && star.text == "*" {
			for range n/2 + 1 {
				it.Qualifier = append(it.Qualifier, strings.ToLower(p.take().text))
				p.take()
			}
			p.take()
			it.Star = true
			return it, nil
		}
	}
	var err error
	if it.Expr, err = p.expr(); err != nil {
		return it, err
	}
	if p.word("AS") {
		it.Alias, err = p.ident()
	} else if p.isIdent() && !p.endsItem() {
		it.Alias, err = p.ident()
	}
	return it, err
}

// endsItem reports whether the next word continues the query rather than
// naming what stands before it.
func (p *parser) endsItem() bool {
	switch p.peek().up {
	case "LIMIT", "OFFSET", "FETCH", "WINDOW", "TABLESAMPLE":
		return p.peek().kind == tIdent
	}
	return false
}

func (p *parser) groupBy() ([]GroupItem, error) {
	var out []GroupItem
	for {
		g := GroupItem{}
		switch {
		case p.word("ROLLUP"):
			g.Kind = "ROLLUP"
		case p.word("CUBE"):
			g.Kind = "CUBE"
		case p.word("GROUPING", "SETS"):
			g.Kind = "GROUPING SETS"
		}
		if g.Kind == "" {
			e, err := p.expr()
			if err != nil {
				return nil, err
			}
			g.Sets = [][]Expr{{e}}
		} else if err := p.groupSets(&g); err != nil {
			return nil, err
		}
		out = append(out, g)
		if !p.op(",") {
			return out, nil
		}
	}
}

func (p *parser) groupSets(g *GroupItem) error {
	if err := p.expectOp("("); err != nil {
		return err
	}
	for {
		var set []Expr
		if p.isOp("(") && g.Kind == "GROUPING SETS" {
			p.take()
			for !p.isOp(")") {
				e, err := p.expr()
				if err != nil {
					return err
				}
				set = append(set, e)
				if !p.op(",") {
					break
				}
			}
			if err := p.expectOp(")"); err != nil {
				return err
			}
		} else {
			e, err := p.expr()
			if err != nil {
				return err
			}
			set = []Expr{e}
		}
		g.Sets = append(g.Sets, set)
		if !p.op(",") {
			return p.expectOp(")")
		}
	}
}

func (p *parser) orderBy() ([]SortItem, error) {
	if err := p.expect("ORDER", "BY"); err != nil {
		return nil, err
	}
	var out []SortItem
	for {
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		s := SortItem{Expr: e}
		if s.Desc = p.word("DESC"); !s.Desc {
			p.word("ASC")
		}
		if p.word("NULLS") {
			switch {
			case p.word("FIRST"):
				s.Nulls = "FIRST"
			case p.word("LAST"):
				s.Nulls = "LAST"
			default:
				return nil, p.unexpected("'FIRST', 'LAST'")
			}
		}
		out = append(out, s)
		if !p.op(",") {
			return out, nil
		}
	}
}

// relation parses joins, which associate to the left.
func (p *parser) relation() (Relation, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	left, err := p.relationPrimary()
	if err != nil {
		return nil, err
	}
	for {
		j := &Join{Left: left}
		switch {
		case p.word("CROSS"):
			j.Kind = "CROSS"
		case p.word("NATURAL"):
			j.Natural = true
			j.Kind = p.joinKind()
		case p.is("JOIN"), p.is("INNER"), p.is("LEFT"), p.is("RIGHT"), p.is("FULL"):
			j.Kind = p.joinKind()
		default:
			return left, nil
		}
		if err := p.expect("JOIN"); err != nil {
			return nil, err
		}
		if j.Right, err = p.relationPrimary(); err != nil {
			return nil, err
		}
		if j.Kind != "CROSS" && !j.Natural {
			switch {
			case p.word("ON"):
				if j.On, err = p.expr(); err != nil {
					return nil, err
				}
			case p.word("USING"):
				if j.Using, err = p.idents(); err != nil {
					return nil, err
				}
			default:
				return nil, p.unexpected("'ON', 'USING'")
			}
		}
		left = j
	}
}

func (p *parser) joinKind() string {
	for _, k := range []string{"LEFT", "RIGHT", "FULL"} {
		if p.word(k) {
			p.word("OUTER")
			return k
		}
	}
	p.word("INNER")
	return "INNER"
}

func (p *parser) relationPrimary() (Relation, error) {
	pos := p.at()
	switch {
	case p.word("UNNEST"):
		u := &Unnest{Pos: pos}
		var err error
		if u.Args, err = p.exprList(); err != nil {
			return nil, err
		}
		if p.word("WITH") {
			if err := p.expect("ORDINALITY"); err != nil {
				return nil, err
			}
			u.Ordinality = true
		}
		u.Alias, u.Columns, err = p.alias()
		return u, err
	case p.is("LATERAL"), p.isOp("("):
		lateral := p.word("LATERAL")
		if err := p.expectOp("("); err != nil {
			return nil, err
		}
		if !lateral && !p.startsQuery() {
			r, err := p.relation()
			if err != nil {
				return nil, err
			}
			return r, p.expectOp(")")
		}
		q, err := p.query()
		if err != nil {
			return nil, err
		}
		if err := p.expectOp(")"); err != nil {
			return nil, err
		}
		s := &SubqueryRef{Query: q, Lateral: lateral}
		s.Alias, s.Columns, err = p.alias()
		return s, err
	}
	n, err := p.name(false)
	if err != nil {
		return nil, err
	}
	t := &TableRef{Name: n}
	if p.is("FOR") {
		return nil, &UnsupportedError{"NOT_SUPPORTED: FOR TIMESTAMP and FOR VERSION need an Iceberg table"}
	}
	if t.Alias, t.Columns, err = p.alias(); err != nil {
		return nil, err
	}
	if p.word("TABLESAMPLE") {
		t.Sample = p.take().up
		if t.Sample != "BERNOULLI" && t.Sample != "SYSTEM" {
			return nil, p.unexpected("'BERNOULLI', 'SYSTEM'")
		}
		if err := p.expectOp("("); err != nil {
			return nil, err
		}
		if t.Percent, err = p.expr(); err != nil {
			return nil, err
		}
		return t, p.expectOp(")")
	}
	return t, nil
}

// startsQuery looks past parentheses for the first word of a query.
func (p *parser) startsQuery() bool {
	for n := 0; ; n++ {
		t := p.peekAt(n)
		if t.kind == tOp && t.text == "(" {
			continue
		}
		return t.kind == tIdent && (t.up == "SELECT" || t.up == "WITH" || t.up == "VALUES" || t.up == "TABLE")
	}
}

func (p *parser) alias() (string, []string, error) {
	as := p.word("AS")
	if !as && (!p.isIdent() || p.endsItem()) {
		return "", nil, nil
	}
	a, err := p.ident()
	if err != nil {
		return "", nil, err
	}
	if !p.isOp("(") {
		return a, nil, nil
	}
	cols, err := p.idents()
	return a, cols, err
}

func (p *parser) exprList() ([]Expr, error) {
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	var out []Expr
	for {
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
		if !p.op(",") {
			return out, p.expectOp(")")
		}
	}
}
