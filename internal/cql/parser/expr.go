package parser

import (
	"strconv"
	"strings"

	"spoor/internal/cql/ast"
)

// mode says where an expression stands.
type mode uint8

const (
	inValue     mode = iota // constants, markers, functions of them
	inSelection             // columns too
)

// term reads a value.
func (p *parser) term() ast.Expr { return p.expr(inValue) }

// expr reads an expression: operands joined by + and -, which join operands
// joined by *, / and %.
func (p *parser) expr(m mode) ast.Expr {
	if !p.enter() {
		return nil
	}
	defer p.leave()
	left := p.product(m)
	for steps := 0; ; steps++ {
		t := p.tok()
		if !t.is('+') && !t.is('-') {
			return left
		}
		if !p.chain(steps) {
			return nil
		}
		if m == inValue && p.isColumn(p.peek(1), p.peek(2)) {
			return left // c = v + c, of which the column is the assignment's
		}
		p.advance()
		left = &ast.BinaryOp{Pos: t.pos(), Op: t.punct, Left: left, Right: p.product(m)}
	}
}

func (p *parser) product(m mode) ast.Expr {
	left := p.unary(m)
	for steps := 0; ; steps++ {
		t := p.tok()
		if !t.is('*') && !t.is('/') && !t.is('%') {
			return left
		}
		if !p.chain(steps) {
			return nil
		}
		p.advance()
		left = &ast.BinaryOp{Pos: t.pos(), Op: t.punct, Left: left, Right: p.unary(m)}
	}
}

// chain guards a loop each of whose steps makes the tree one level deeper.
func (p *parser) chain(steps int) bool {
	if steps == MaxDepth {
		p.syntaxAt(p.tok(), tooDeep)
		return false
	}
	return true
}

// isColumn reports whether t, followed by next, is a column's name where a value
// could stand: not a function, not a duration.
func (p *parser) isColumn(t, next *token) bool {
	return t.isIdent() && !next.is('(') && !next.is('.') && !(t.kind == tokIdent && isISODuration(p.text(t)))
}

func (p *parser) unary(m mode) ast.Expr {
	t := p.tok()
	if !t.is('-') {
		return p.postfix(m, p.primary(m))
	}
	p.advance()
	if next := p.tok(); next.start == t.end {
		if lit := p.constant(); lit != nil {
			if lit.Kind != ast.IntegerLiteral && lit.Kind != ast.FloatLiteral && lit.Kind != ast.DurationLiteral {
				p.syntaxAt(next, "no viable alternative at input '"+p.show(next)+"'")
				return nil
			}
			lit.Pos, lit.Text = t.pos(), "-"+lit.Text
			return lit
		}
	}
	if !p.enter() {
		return nil
	}
	defer p.leave()
	return &ast.Negation{Pos: t.pos(), Value: p.unary(m)}
}

// postfix reads what can follow a selected expression: fields, elements, slices.
func (p *parser) postfix(m mode, e ast.Expr) ast.Expr {
	if m != inSelection {
		return e
	}
	switch e.(type) {
	case *ast.ColumnRef, *ast.FunctionCall, *ast.Cast:
	default:
		return e
	}
	for steps := 0; ; steps++ {
		t := p.tok()
		if !t.is('.') && !t.is('[') {
			return e
		}
		if !p.chain(steps) {
			return nil
		}
		p.advance()
		if t.punct == '.' {
			e = &ast.Field{Pos: t.pos(), Of: e, Name: p.ident()}
			continue
		}
		e = p.subscript(t, e)
	}
}

func (p *parser) subscript(t *token, of ast.Expr) ast.Expr {
	if p.tok().kind == tokRange {
		p.advance()
		s := &ast.Slice{Pos: t.pos(), Of: of, To: p.term()}
		p.expectPunct(']')
		return s
	}
	key := p.term()
	if p.tok().kind != tokRange {
		p.expectPunct(']')
		return &ast.Element{Pos: t.pos(), Of: of, Key: key}
	}
	p.advance()
	s := &ast.Slice{Pos: t.pos(), Of: of, From: key}
	if !p.tok().is(']') {
		s.To = p.term()
	}
	p.expectPunct(']')
	return s
}

// constant reads a literal that is one token, or returns nil and reads nothing.
func (p *parser) constant() *ast.Literal {
	t := p.tok()
	text := p.text(t)
	var kind ast.LiteralKind
	switch t.kind {
	case tokString:
		kind, text = ast.StringLiteral, stringText(text, t.escaped)
	case tokInteger:
		kind = ast.IntegerLiteral
	case tokFloat:
		kind = ast.FloatLiteral
	case tokUUID:
		kind = ast.UUIDLiteral
	case tokBlob:
		kind = ast.BlobLiteral
	case tokDuration:
		kind = ast.DurationLiteral
	case tokIdent:
		switch t.kw {
		case kwTrue:
			kind, text = ast.BooleanLiteral, "true"
		case kwFalse:
			kind, text = ast.BooleanLiteral, "false"
		case kwNaN:
			kind, text = ast.FloatLiteral, "NaN"
		case kwInfinity:
			kind, text = ast.FloatLiteral, "Infinity"
		case kwNull:
			kind, text = ast.NullLiteral, ""
		default:
			if next := p.peek(1); next.is('(') || next.is('.') || !isISODuration(text) {
				return nil
			}
			kind = ast.DurationLiteral
		}
	default:
		return nil
	}
	p.advance()
	return &ast.Literal{Pos: t.pos(), Kind: kind, Text: text}
}

// stringText resolves a string token's quotes.
func stringText(text string, escaped bool) string {
	if text[0] == '$' {
		return text[2 : len(text)-2]
	}
	text = text[1 : len(text)-1]
	if escaped {
		text = strings.ReplaceAll(text, "''", "'")
	}
	return text
}

func (p *parser) primary(m mode) ast.Expr {
	t := p.tok()
	// In a selection a word that reads as a duration is a column's name.
	if m == inValue || t.kind != tokIdent || reserved[t.kw] {
		if lit := p.constant(); lit != nil {
			return lit
		}
	}
	switch {
	case t.is('?'), t.is(':'):
		return p.marker()
	case t.is('('):
		return p.parenthesis(m)
	case t.is('['):
		return p.list(m)
	case t.is('{'):
		return p.braces(m)
	case t.isIdent() || t.isWord(kwToken):
		return p.word(m)
	}
	p.unexpected()
	return nil
}

// marker reads ? or :name.
func (p *parser) marker() ast.Expr {
	t := p.tok()
	m := &ast.BindMarker{Pos: t.pos(), Index: len(p.markers)}
	p.advance()
	if t.is(':') {
		m.Name = p.ident()
	}
	if len(p.markers) == MaxMarkers {
		p.syntaxAt(t, "the statement has too many bind markers")
		return nil
	}
	p.markers = append(p.markers, m)
	return m
}

// word reads what begins with a name: a function or, in a selection, a column.
func (p *parser) word(m mode) ast.Expr {
	t := p.tok()
	if p.peek(1).is('(') {
		if m == inSelection && t.kind == tokIdent {
			switch t.kw {
			case kwCount:
				if e := p.countAll(); e != nil {
					return e
				}
			case kwWritetime, kwTTL:
				return p.columnMeta()
			case kwCast:
				return p.cast()
			}
		}
		name := p.identText(t)
		p.advance()
		return p.call(t, "", name, m)
	}
	if p.peek(1).is('.') && p.peek(2).isIdent() && p.peek(3).is('(') {
		keyspace := p.ident()
		p.advance()
		return p.call(t, keyspace, p.ident(), m)
	}
	if m == inSelection && t.isIdent() {
		return &ast.ColumnRef{Pos: t.pos(), Name: p.ident()}
	}
	p.unexpected()
	return nil
}

func (p *parser) call(t *token, keyspace, name string, m mode) ast.Expr {
	f := &ast.FunctionCall{Pos: t.pos(), Keyspace: keyspace, Name: name}
	p.expectPunct('(')
	if p.acceptPunct(')') {
		return f
	}
	f.Args = p.exprs(m, ')')
	return f
}

// exprs reads a list of at least one expression up to and with its end.
func (p *parser) exprs(m mode, end byte) []ast.Expr {
	list := make([]ast.Expr, 0, 4)
	for {
		list = append(list, p.expr(m))
		if !p.acceptPunct(',') {
			break
		}
	}
	p.expectPunct(end)
	return list
}

// countAll reads count(*) and count(1); nil for any other count.
func (p *parser) countAll() ast.Expr {
	t, arg := p.tok(), p.peek(2)
	if !p.peek(3).is(')') || !arg.is('*') && (arg.kind != tokInteger || p.text(arg) != "1") {
		return nil
	}
	p.i += 4
	return &ast.FunctionCall{Pos: t.pos(), Name: "count", Star: true}
}

func (p *parser) columnMeta() ast.Expr {
	t := p.tok()
	p.advance()
	p.expectPunct('(')
	e := &ast.ColumnMeta{Pos: t.pos(), TTL: t.kw == kwTTL}
	column := p.name()
	e.Of = p.postfix(inSelection, &ast.ColumnRef{Pos: column.Pos, Name: column.Text})
	p.expectPunct(')')
	return e
}

func (p *parser) cast() ast.Expr {
	t := p.tok()
	p.advance()
	p.expectPunct('(')
	e := &ast.Cast{Pos: t.pos(), Value: p.expr(inSelection)}
	p.expect(kwAs)
	e.Type = p.typeName()
	p.expectPunct(')')
	return e
}

// parenthesis reads (type) value or (a, b).
func (p *parser) parenthesis(m mode) ast.Expr {
	t := p.tok()
	if h := p.typeHint(m); h != nil {
		return h
	}
	p.advance()
	return &ast.TupleLiteral{Pos: t.pos(), Items: p.exprs(m, ')')}
}

// typeHint reads (type) value; nil, having read nothing, when what stands there
// is no type or no value follows.
func (p *parser) typeHint(m mode) ast.Expr {
	start, depth := p.i, p.depth
	t := p.tok()
	if p.err != nil {
		return nil
	}
	p.advance()
	if k := p.tok().kind; k != tokIdent && k != tokQuotedIdent && k != tokString {
		p.i = start
		return nil
	}
	typ := p.typeName()
	closed := p.acceptPunct(')')
	if p.err != nil || !closed || !p.beginsOperand(m) {
		p.i, p.depth, p.err = start, depth, nil
		return nil
	}
	if !p.enter() {
		return nil
	}
	defer p.leave()
	h := &ast.TypeHint{Pos: t.pos(), Type: typ}
	if m == inValue {
		h.Value = p.unary(m)
	} else {
		h.Value = p.primary(m)
	}
	return h
}

// beginsOperand reports whether a value follows the closing parenthesis of what
// may be a type hint.
func (p *parser) beginsOperand(m mode) bool {
	t, next := p.tok(), p.peek(1)
	switch t.kind {
	case tokString, tokInteger, tokFloat, tokUUID, tokBlob, tokDuration:
		return true
	case tokPunct:
		return strings.IndexByte("?:([{", t.punct) >= 0 || t.punct == '-' && m == inValue
	case tokIdent, tokQuotedIdent:
		if next.is('(') || next.is('.') || t.kind == tokIdent && (t.kw == kwNull || t.kw == kwTrue || t.kw == kwFalse || t.kw == kwNaN || t.kw == kwInfinity) {
			return true
		}
		if m == inSelection {
			return t.isIdent() && !t.isWord(kwAs)
		}
		return t.kind == tokIdent && isISODuration(p.text(t))
	}
	return false
}

func (p *parser) list(m mode) ast.Expr {
	l := &ast.ListLiteral{Pos: p.tok().pos()}
	p.advance()
	if !p.acceptPunct(']') {
		l.Items = p.exprs(m, ']')
	}
	return l
}

// braces reads a set, a map or a user type's value.
func (p *parser) braces(m mode) ast.Expr {
	pos := p.tok().pos()
	p.advance()
	if p.acceptPunct('}') {
		return &ast.SetLiteral{Pos: pos}
	}
	if p.tok().isIdent() && p.peek(1).is(':') {
		return p.udtFields(pos, m)
	}
	first := p.expr(m)
	if !p.tok().is(':') {
		s := &ast.SetLiteral{Pos: pos, Items: []ast.Expr{first}}
		if p.acceptPunct(',') {
			s.Items = append(s.Items, p.exprs(m, '}')...)
		} else {
			p.expectPunct('}')
		}
		return s
	}
	l := &ast.MapLiteral{Pos: pos}
	for key := first; ; key = p.expr(m) {
		p.expectPunct(':')
		l.Entries = append(l.Entries, ast.MapEntry{Key: key, Value: p.expr(m)})
		if !p.acceptPunct(',') {
			break
		}
	}
	p.expectPunct('}')
	return l
}

func (p *parser) udtFields(pos ast.Pos, m mode) ast.Expr {
	u := &ast.UDTLiteral{Pos: pos}
	for {
		name := p.name()
		p.expectPunct(':')
		u.Fields = append(u.Fields, ast.UDTField{Name: name, Value: p.expr(m)})
		if !p.acceptPunct(',') {
			break
		}
	}
	p.expectPunct('}')
	return u
}

// integer reads an integer constant or a marker, for LIMIT, TTL and TIMESTAMP.
func (p *parser) integer() ast.Expr {
	t := p.tok()
	if t.is('?') || t.is(':') {
		return p.marker()
	}
	if t.kind == tokInteger || t.is('-') && p.peek(1).kind == tokInteger && p.peek(1).start == t.end {
		return p.unary(inValue)
	}
	p.unexpected()
	return nil
}

var collectionTypes = map[string]struct {
	kind ast.TypeKind
	args int // 0: one or more
}{
	"list": {ast.ListType, 1}, "set": {ast.SetType, 1}, "map": {ast.MapType, 2}, "tuple": {ast.TupleType, 0},
	"frozen": {ast.FrozenType, 1}, "vector": {ast.VectorType, 1},
}

// typeName reads a type.
func (p *parser) typeName() *ast.TypeName {
	t := p.tok()
	typ := &ast.TypeName{Pos: t.pos()}
	switch {
	case t.kind == tokString:
		p.advance()
		typ.Kind, typ.Name = ast.CustomType, stringText(p.text(t), t.escaped)
		return typ
	case t.kind == tokIdent && p.peek(1).is('<'):
		return p.parameterised(typ)
	case t.isIdent():
		word := t.kind == tokIdent
		q := p.qualifiedName()
		typ.Kind, typ.Keyspace, typ.Name = ast.UserType, q.Keyspace, q.Name
		if word && q.Keyspace == "" && ast.IsNativeType(q.Name) {
			typ.Kind = ast.NativeType
		}
		return typ
	}
	p.unexpected()
	return typ
}

func (p *parser) parameterised(typ *ast.TypeName) *ast.TypeName {
	t := p.tok()
	typ.Name = lower(p.text(t))
	form, ok := collectionTypes[typ.Name]
	if !ok {
		p.unexpected()
		return typ
	}
	if !p.enter() {
		return typ
	}
	defer p.leave()
	typ.Kind = form.kind
	p.advance()
	p.expectPunct('<')
	for n := 1; ; n++ {
		typ.Args = append(typ.Args, p.typeName())
		if n == form.args || !p.acceptPunct(',') {
			break
		}
	}
	if form.args > 1 && len(typ.Args) != form.args {
		p.mismatched("','")
	}
	if typ.Kind == ast.VectorType {
		p.expectPunct(',')
		typ.Dimension = p.dimension()
	}
	p.expectPunct('>')
	return typ
}

// maxDimension is the greatest dimension of a vector (Cassandra's
// vector_dimensions guardrail counts in an int; the protocol's value length
// bounds it well below).
const maxDimension = 1 << 16

func (p *parser) dimension() int {
	t := p.tok()
	n, err := strconv.Atoi(p.text(t))
	if t.kind != tokInteger || err != nil || n < 1 || n > maxDimension {
		p.unexpected()
		return 0
	}
	p.advance()
	return n
}
