// Package parser turns CQL text into its syntax tree (package ast).
//
// It is a lexer and a recursive-descent parser for CQL 3.4 as Cassandra 3.11 and
// 4.0 read it, with Amazon Keyspaces' additions (TAGS, RESTORE TABLE). It knows
// no schema: it checks form, and what a statement means is the executor's.
// Statements that Keyspaces refuses are read far enough to be refused by name.
package parser

import (
	"strings"
	"sync"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
)

// The limits on a statement.
const (
	// MaxText is the longest text, in bytes: that of the largest frame a server
	// takes by default.
	MaxText = 16 << 20
	// MaxTokens bounds the memory that a text can ask for. A row holds at most
	// 65,535 bound values, and a batch of such rows still fits.
	MaxTokens = 1 << 20
	// MaxDepth bounds nesting: of values, expressions, relations and types.
	// Amazon Keyspaces allows 8 levels of nested collections.
	MaxDepth = 64
	// MaxMarkers is how many values a message can bind: their count is a [short].
	MaxMarkers = 1<<16 - 1
)

// Parse reads one statement; one semicolon or several may end it. The error is a
// *cql.Error of code Syntax with Cassandra's form of text ("line 1:7 no viable
// alternative at input 'x'"), or of code Invalid where Cassandra's parser gives
// one. Such a text can quote a constant of the statement.
func Parse(text string) (*ast.Parsed, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	defer p.release()
	statement := p.statement()
	for p.acceptPunct(';') {
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return &ast.Parsed{Text: text, Statement: statement, Markers: p.markers}, nil
}

// ParseType reads a type by itself, "map<text, frozen<list<int>>>", as the
// Keyspaces API and the system tables write it. Its errors are those of Parse.
func ParseType(text string) (*ast.TypeName, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	defer p.release()
	typ := p.typeName()
	if err := p.end(); err != nil {
		return nil, err
	}
	return typ, nil
}

// newParser splits text into tokens.
func newParser(text string) (*parser, error) {
	if len(text) > MaxText {
		return nil, cql.Invalid("The statement is too long: %d bytes exceed the maximum of %d", len(text), MaxText)
	}
	p := parsers.Get().(*parser)
	var ok bool
	p.toks, p.bad, ok = tokenize(text, p.toks[:0], MaxTokens)
	if !ok {
		p.release()
		return nil, cql.Invalid("The statement has more than %d tokens", MaxTokens)
	}
	p.src = text
	return p, nil
}

// end checks that everything has been read, and returns the first error.
func (p *parser) end() error {
	if t := p.tok(); p.err == nil && t.kind == tokBad {
		p.unexpected()
	} else if p.err == nil && t.kind != tokEOF {
		p.syntaxAt(t, "missing EOF at '"+p.show(t)+"'")
	}
	if p.err != nil {
		return p.err
	}
	return nil
}

// parsers keeps token slices between calls; it holds no state that a caller
// could notice.
var parsers = sync.Pool{New: func() any { return new(parser) }}

// maxKeptTokens bounds what the pool keeps of one long statement.
const maxKeptTokens = 4096

// parser reads tokens one after the other. After the first error it stands at
// the end of the input, where every rule fails quickly and every loop ends; what
// rules return then is thrown away.
type parser struct {
	src     string
	toks    []token
	bad     string // why the last token is tokBad
	i       int
	depth   int
	markers []*ast.BindMarker
	err     *cql.Error
}

func (p *parser) release() {
	toks := p.toks
	if cap(toks) > maxKeptTokens {
		toks = nil
	}
	*p = parser{toks: toks[:0]}
	parsers.Put(p)
}

func (p *parser) tok() *token { return &p.toks[p.i] }

// peek gives the n-th token after the current one, or the last.
func (p *parser) peek(n int) *token { return &p.toks[min(p.i+n, len(p.toks)-1)] }

func (p *parser) advance() {
	if p.i < len(p.toks)-1 {
		p.i++
	}
}

func (p *parser) text(t *token) string { return p.src[t.start:t.end] }

// maxShown bounds what an error text quotes, in bytes.
const maxShown = 100

func (p *parser) show(t *token) string {
	if t.kind == tokEOF {
		return "<EOF>"
	}
	s := p.text(t)
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return s
}

func (p *parser) fail(e *cql.Error) {
	if p.err == nil {
		p.err = e
	}
	p.i = len(p.toks) - 1
}

func (p *parser) syntaxAt(t *token, message string) {
	pos := t.pos()
	p.fail(cql.Syntax("line %d:%d %s", pos.Line, pos.Col, message))
}

// unexpected fails at a token that no rule begins with.
func (p *parser) unexpected() {
	if t := p.tok(); t.kind == tokBad {
		p.syntaxAt(t, p.bad)
	} else {
		p.syntaxAt(t, "no viable alternative at input '"+p.show(t)+"'")
	}
}

func (p *parser) mismatched(expected string) {
	if t := p.tok(); t.kind == tokBad {
		p.syntaxAt(t, p.bad)
	} else {
		p.syntaxAt(t, "mismatched input '"+p.show(t)+"' expecting "+expected)
	}
}

const tooDeep = "the statement is nested too deeply"

// enter guards a rule that can contain itself; leave follows when it is true.
func (p *parser) enter() bool {
	if p.depth == MaxDepth {
		p.syntaxAt(p.tok(), tooDeep)
		return false
	}
	p.depth++
	return true
}

func (p *parser) leave() { p.depth-- }

func (t *token) is(c byte) bool        { return t.kind == tokPunct && t.punct == c }
func (t *token) isWord(k keyword) bool { return t.kind == tokIdent && t.kw == k }

// isIdent reports whether t can be an identifier.
func (t *token) isIdent() bool {
	return t.kind == tokQuotedIdent || t.kind == tokIdent && !reserved[t.kw]
}

func (p *parser) acceptPunct(c byte) bool {
	if p.tok().is(c) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expectPunct(c byte) {
	if !p.acceptPunct(c) {
		p.mismatched("'" + string(rune(c)) + "'")
	}
}

func (p *parser) accept(k keyword) bool {
	if p.tok().isWord(k) {
		p.advance()
		return true
	}
	return false
}

// acceptSeq takes all of the words or none.
func (p *parser) acceptSeq(words ...keyword) bool {
	for n, k := range words {
		if !p.peek(n).isWord(k) {
			return false
		}
	}
	for range words {
		p.advance()
	}
	return true
}

func (p *parser) expect(k keyword) {
	if !p.accept(k) {
		p.mismatched("K_" + keywordNames[k])
	}
}

// identText is the name that an identifier token stands for.
func (p *parser) identText(t *token) string {
	s := p.text(t)
	if t.kind != tokQuotedIdent {
		return lower(s)
	}
	s = s[1 : len(s)-1]
	if t.escaped {
		s = strings.ReplaceAll(s, `""`, `"`)
	}
	return s
}

func (p *parser) ident() string { return p.name().Text }

func (p *parser) name() ast.Name {
	t := p.tok()
	if !t.isIdent() {
		p.unexpected()
		return ast.Name{}
	}
	n := ast.Name{Pos: t.pos(), Text: p.identText(t)}
	p.advance()
	return n
}

// names reads a list of names up to and with the closing parenthesis.
func (p *parser) names() []ast.Name {
	var list []ast.Name
	for {
		list = append(list, p.name())
		if !p.acceptPunct(',') {
			break
		}
	}
	p.expectPunct(')')
	return list
}

func (p *parser) qualifiedName() ast.QualifiedName {
	first := p.name()
	q := ast.QualifiedName{Pos: first.Pos, Name: first.Text}
	if p.acceptPunct('.') {
		q.Keyspace, q.Name = first.Text, p.ident()
	}
	return q
}

func (p *parser) ifNotExists() bool { return p.acceptSeq(kwIf, kwNot, kwExists) }
func (p *parser) ifExists() bool    { return p.acceptSeq(kwIf, kwExists) }

func (p *parser) statement() ast.Statement {
	t := p.tok()
	if t.kind != tokIdent {
		p.unexpected()
		return nil
	}
	switch t.kw {
	case kwSelect:
		return p.selectStatement()
	case kwInsert:
		return p.insert()
	case kwUpdate:
		return p.update()
	case kwDelete:
		return p.delete()
	case kwBegin:
		return p.batch()
	case kwUse:
		p.advance()
		return &ast.Use{Pos: t.pos(), Keyspace: p.ident()}
	case kwTruncate:
		p.advance()
		p.accept(kwTable)
		return &ast.Truncate{Pos: t.pos(), Table: p.qualifiedName()}
	case kwCreate:
		return p.create()
	case kwAlter:
		return p.alter()
	case kwDrop:
		return p.drop()
	case kwRestore:
		return p.restore()
	case kwList, kwGrant, kwRevoke, kwDescribe, kwDesc:
		return p.administrative()
	}
	p.unexpected()
	return nil
}

// administrative reads a statement of which only the kind is kept.
func (p *parser) administrative() ast.Statement {
	t := p.tok()
	s := &ast.Administrative{Pos: t.pos(), Verb: keywordNames[t.kw]}
	p.advance()
	object := p.tok().kw
	switch t.kw {
	case kwDesc:
		s.Verb = keywordNames[kwDescribe]
	case kwList:
		if object != kwRoles && object != kwUsers {
			object = kwPermissions
		}
		s.Object = keywordNames[object]
	case kwCreate, kwAlter, kwDrop:
		s.Object = keywordNames[object]
	}
	p.skipStatement()
	return s
}

// skipStatement passes over everything up to the end of the statement. The body
// of a function is one string token, so that a semicolon ends the statement.
func (p *parser) skipStatement() {
	for t := p.tok(); t.kind != tokEOF && !t.is(';'); t = p.tok() {
		if t.kind == tokBad {
			p.unexpected()
			return
		}
		p.advance()
	}
}
