package parser

import (
	"spoor/internal/cql"
	"spoor/internal/cql/ast"
)

func (p *parser) selectStatement() ast.Statement {
	s := &ast.Select{Pos: p.tok().pos()}
	p.advance()
	s.JSON = p.modifier(kwJSON)
	s.Distinct = p.modifier(kwDistinct)
	s.Selectors = p.selectors()
	p.expect(kwFrom)
	s.Table = p.qualifiedName()
	if p.accept(kwWhere) {
		s.Where = p.relations()
	}
	if p.acceptSeq(kwGroup, kwBy) {
		for ok := true; ok; ok = p.acceptPunct(',') {
			s.GroupBy = append(s.GroupBy, p.name())
		}
	}
	if p.acceptSeq(kwOrder, kwBy) {
		for ok := true; ok; ok = p.acceptPunct(',') {
			s.OrderBy = append(s.OrderBy, p.ordering())
		}
	}
	if p.acceptSeq(kwPer, kwPartition, kwLimit) {
		s.PerPartitionLimit = p.integer()
	}
	if p.accept(kwLimit) {
		s.Limit = p.integer()
	}
	s.AllowFiltering = p.acceptSeq(kwAllow, kwFiltering)
	return s
}

// modifier takes JSON or DISTINCT before the selected expressions, where the
// same word can also be a column or function that is selected.
func (p *parser) modifier(k keyword) bool {
	if !p.tok().isWord(k) {
		return false
	}
	next := p.peek(1)
	switch {
	case next.isWord(kwFrom), next.isWord(kwAs), next.kind == tokEOF:
		return false
	case next.kind == tokPunct:
		switch next.punct {
		case ',', '.', '[', '(', '+', '-', '/', '%':
			return false
		}
	}
	p.advance()
	return true
}

func (p *parser) selectors() []ast.Selector {
	if p.acceptPunct('*') {
		return nil
	}
	var list []ast.Selector
	for ok := true; ok; ok = p.acceptPunct(',') {
		s := ast.Selector{Expr: p.expr(inSelection)}
		if p.accept(kwAs) {
			s.Alias = p.ident()
		}
		list = append(list, s)
	}
	return list
}

func (p *parser) ordering() ast.Ordering {
	o := ast.Ordering{Column: p.name()}
	if p.accept(kwDesc) {
		o.Desc = true
	} else {
		p.accept(kwAsc)
	}
	return o
}

func (p *parser) relations() []*ast.Relation {
	list := make([]*ast.Relation, 0, 4)
	for ok := true; ok; ok = p.accept(kwAnd) {
		list = append(list, p.relation())
	}
	return list
}

func (p *parser) relation() *ast.Relation {
	t := p.tok()
	r := &ast.Relation{Pos: t.pos()}
	switch {
	case t.is('('):
		if next := p.peek(2); !p.peek(1).isIdent() || !next.is(',') && !next.is(')') {
			return p.nestedRelation()
		}
		p.advance()
		r.Kind, r.Columns = ast.TupleRelation, p.names()
		p.tupleOperator(r)
		return r
	case t.isWord(kwToken):
		p.advance()
		p.expectPunct('(')
		r.Kind, r.Columns = ast.TokenRelation, p.names()
		if !p.comparison(r) {
			p.unexpected()
			return r
		}
		r.Value = p.term()
		return r
	}
	r.Columns = []ast.Name{p.name()}
	if p.acceptPunct('[') {
		r.Kind, r.Key = ast.ElementRelation, p.term()
		p.expectPunct(']')
		if !p.comparison(r) {
			p.unexpected()
			return r
		}
		r.Value = p.term()
		return r
	}
	p.columnOperator(r)
	return r
}

// nestedRelation reads ( relation ).
func (p *parser) nestedRelation() *ast.Relation {
	if !p.enter() {
		return nil
	}
	defer p.leave()
	p.expectPunct('(')
	r := p.relation()
	p.expectPunct(')')
	return r
}

// comparison reads an operator that compares; false when there is none.
func (p *parser) comparison(r *ast.Relation) bool {
	t := p.tok()
	switch {
	case t.is('='):
		r.Op = ast.OpEq
	case t.kind == tokNe:
		r.Op = ast.OpNe
	case t.is('<'):
		r.Op = ast.OpLt
	case t.kind == tokLe:
		r.Op = ast.OpLe
	case t.is('>'):
		r.Op = ast.OpGt
	case t.kind == tokGe:
		r.Op = ast.OpGe
	default:
		return false
	}
	p.advance()
	return true
}

func (p *parser) columnOperator(r *ast.Relation) {
	switch {
	case p.comparison(r):
		r.Value = p.term()
	case p.accept(kwIn):
		p.in(r)
	case p.accept(kwContains):
		r.Op = ast.OpContains
		if p.accept(kwKey) {
			r.Op = ast.OpContainsKey
		}
		r.Value = p.term()
	case p.accept(kwLike):
		r.Op, r.Value = ast.OpLike, p.term()
	case p.acceptSeq(kwIs, kwNot, kwNull):
		r.Op = ast.OpIsNotNull
	default:
		p.unexpected()
	}
}

// in reads what follows IN: a marker, or a list that may be empty.
func (p *parser) in(r *ast.Relation) {
	r.Op = ast.OpIn
	if t := p.tok(); t.is('?') || t.is(':') {
		r.Value = p.marker()
		return
	}
	p.expectPunct('(')
	r.List = []ast.Expr{}
	if !p.acceptPunct(')') {
		r.List = p.exprs(inValue, ')')
	}
}

// tupleOperator reads what follows (a, b): its values are tuples or markers.
func (p *parser) tupleOperator(r *ast.Relation) {
	var at *token
	if p.accept(kwIn) {
		at = p.tok()
		p.in(r)
	} else if p.comparison(r) {
		at = p.tok()
		r.Value = p.term()
	} else {
		p.unexpected()
		return
	}
	for _, v := range append([]ast.Expr{r.Value}, r.List...) {
		switch v.(type) {
		case nil, *ast.TupleLiteral, *ast.BindMarker:
		default:
			p.syntaxAt(at, "no viable alternative at input '"+p.show(at)+"'")
			return
		}
	}
}

// using reads USING TIMESTAMP t AND TTL t; ttl says whether TTL is allowed.
func (p *parser) using(u *ast.Using, ttl bool) {
	if !p.accept(kwUsing) {
		return
	}
	for ok := true; ok; ok = p.accept(kwAnd) {
		switch {
		case u.Timestamp == nil && p.accept(kwTimestamp):
			u.Timestamp = p.integer()
		case ttl && u.TTL == nil && p.accept(kwTTL):
			u.TTL = p.integer()
		default:
			p.unexpected()
		}
	}
}

func (p *parser) insert() ast.Statement {
	s := &ast.Insert{Pos: p.tok().pos()}
	p.advance()
	p.expect(kwInto)
	s.Table = p.qualifiedName()
	if p.accept(kwJSON) {
		p.insertJSON(s)
	} else {
		p.expectPunct('(')
		s.Columns = p.names()
		p.expect(kwValues)
		p.expectPunct('(')
		s.Values = p.exprs(inValue, ')')
		if p.err == nil && len(s.Columns) != len(s.Values) {
			p.fail(cql.Invalid("Unmatched column names/values"))
		}
	}
	s.IfNotExists = p.ifNotExists()
	p.using(&s.Using, true)
	return s
}

func (p *parser) insertJSON(s *ast.Insert) {
	switch t := p.tok(); {
	case t.kind == tokString:
		s.JSON = p.term()
	case t.is('?') || t.is(':'):
		s.JSON = p.marker()
	default:
		p.unexpected()
	}
	if p.accept(kwDefault) {
		if s.DefaultUnset = p.accept(kwUnset); !s.DefaultUnset {
			p.expect(kwNull)
		}
	}
}

func (p *parser) update() ast.Statement {
	s := &ast.Update{Pos: p.tok().pos()}
	p.advance()
	s.Table = p.qualifiedName()
	p.using(&s.Using, true)
	p.expect(kwSet)
	for ok := true; ok; ok = p.acceptPunct(',') {
		s.Assignments = append(s.Assignments, p.assignment())
	}
	p.expect(kwWhere)
	s.Where = p.relations()
	s.IfExists, s.If = p.conditions()
	return s
}

func (p *parser) assignment() *ast.Assignment {
	a := &ast.Assignment{Pos: p.tok().pos(), Column: p.name()}
	t := p.tok()
	switch {
	case t.is('['):
		p.advance()
		a.Kind, a.Key = ast.AssignElement, p.term()
		p.expectPunct(']')
	case t.is('.'):
		p.advance()
		a.Kind, a.Field = ast.AssignField, p.ident()
	case (t.is('+') || t.is('-')) && p.peek(1).is('='):
		p.advance()
		a.Kind = ast.AssignAdd
		if t.punct == '-' {
			a.Kind = ast.AssignSubtract
		}
	}
	p.expectPunct('=')
	if a.Kind != ast.Assign {
		a.Value = p.term()
		return a
	}
	if t, sign := p.tok(), p.peek(1); p.isColumn(t, sign) && (sign.is('+') || sign.is('-')) {
		a.Kind = ast.AssignAdd
		if sign.is('-') {
			a.Kind = ast.AssignSubtract
		}
		p.sameColumn(a, sign.punct)
		p.advance()
		a.Value = p.term()
		return a
	}
	a.Value = p.term()
	if p.acceptPunct('+') {
		a.Kind = ast.AssignPrepend
		p.sameColumn(a, '+')
	}
	return a
}

// sameColumn reads the column on the right of c = c + v or c = v + c.
func (p *parser) sameColumn(a *ast.Assignment, sign byte) {
	if name := p.name(); p.err == nil && name.Text != a.Column.Text {
		form := "X = X " + string(rune(sign)) + "<value>"
		if a.Kind == ast.AssignPrepend {
			form = "X = <value> + X"
		}
		p.fail(cql.Syntax("Only expressions of the form %s are supported.", form))
	}
}

// conditions reads IF EXISTS or IF with conditions.
func (p *parser) conditions() (exists bool, list []*ast.Relation) {
	if !p.accept(kwIf) {
		return false, nil
	}
	if p.tok().isWord(kwExists) && !p.beginsCondition() {
		p.advance()
		return true, nil
	}
	for ok := true; ok; ok = p.accept(kwAnd) {
		list = append(list, p.condition())
	}
	return false, list
}

// beginsCondition reports whether EXISTS is a column: something compares it.
func (p *parser) beginsCondition() bool {
	t := p.peek(1)
	switch t.kind {
	case tokNe, tokLe, tokGe:
		return true
	case tokPunct:
		return t.punct != ';'
	}
	return t.isWord(kwIn) || t.isWord(kwContains)
}

func (p *parser) condition() *ast.Relation {
	r := &ast.Relation{Pos: p.tok().pos(), Columns: []ast.Name{p.name()}}
	switch {
	case p.acceptPunct('['):
		r.Kind, r.Key = ast.ElementRelation, p.term()
		p.expectPunct(']')
	case p.acceptPunct('.'):
		r.Kind, r.Field = ast.FieldRelation, p.ident()
	}
	switch {
	case p.comparison(r):
		r.Value = p.term()
	case p.accept(kwIn):
		p.in(r)
	case r.Kind == ast.ColumnRelation && p.accept(kwContains):
		r.Op = ast.OpContains
		if p.accept(kwKey) {
			r.Op = ast.OpContainsKey
		}
		r.Value = p.term()
	default:
		p.unexpected()
	}
	return r
}

func (p *parser) delete() ast.Statement {
	s := &ast.Delete{Pos: p.tok().pos()}
	p.advance()
	if !p.tok().isWord(kwFrom) {
		for ok := true; ok; ok = p.acceptPunct(',') {
			s.Columns = append(s.Columns, p.deletion())
		}
	}
	p.expect(kwFrom)
	s.Table = p.qualifiedName()
	p.using(&s.Using, false)
	p.expect(kwWhere)
	s.Where = p.relations()
	s.IfExists, s.If = p.conditions()
	return s
}

func (p *parser) deletion() ast.Deletion {
	name := p.name()
	d := ast.Deletion{Pos: name.Pos, Column: name.Text}
	switch {
	case p.acceptPunct('['):
		d.Key = p.term()
		p.expectPunct(']')
	case p.acceptPunct('.'):
		d.Field = p.ident()
	}
	return d
}

func (p *parser) batch() ast.Statement {
	s := &ast.Batch{Pos: p.tok().pos()}
	p.advance()
	switch {
	case p.accept(kwUnlogged):
		s.Kind = ast.UnloggedBatch
	case p.accept(kwCounter):
		s.Kind = ast.CounterBatch
	}
	p.expect(kwBatch)
	p.using(&s.Using, false)
	for {
		switch t := p.tok(); t.kw {
		case kwInsert:
			s.Statements = append(s.Statements, p.insert())
		case kwUpdate:
			s.Statements = append(s.Statements, p.update())
		case kwDelete:
			s.Statements = append(s.Statements, p.delete())
		default:
			p.expect(kwApply)
			p.expect(kwBatch)
			return s
		}
		p.acceptPunct(';')
	}
}
