package parser

import (
	"spoor/internal/cql"
	"spoor/internal/cql/ast"
)

func (p *parser) create() ast.Statement {
	t := p.tok()
	switch p.peek(1).kw {
	case kwKeyspace:
		return p.createKeyspace()
	case kwTable:
		return p.createTable()
	case kwType:
		return p.createType()
	case kwIndex, kwCustom:
		return p.createIndex()
	case kwMaterialized:
		return p.createView()
	case kwRole, kwUser, kwFunction, kwAggregate, kwTrigger:
		return p.administrative()
	case kwOr: // CREATE OR REPLACE FUNCTION
		p.advance()
		p.advance()
		p.expect(kwReplace)
		s := &ast.Administrative{Pos: t.pos(), Verb: "CREATE"}
		switch k := p.tok().kw; k {
		case kwFunction, kwAggregate:
			s.Object = keywordNames[k]
		default:
			p.unexpected()
		}
		p.skipStatement()
		return s
	}
	p.advance()
	p.unexpected()
	return nil
}

func (p *parser) alter() ast.Statement {
	switch p.peek(1).kw {
	case kwKeyspace:
		return p.alterKeyspace()
	case kwTable:
		return p.alterTable()
	case kwType:
		return p.alterType()
	case kwMaterialized:
		s := &ast.AlterView{Pos: p.start(2)}
		p.expect(kwView)
		s.IfExists = p.ifExists()
		s.View = p.qualifiedName()
		s.Options = p.tableOptions(true)
		return s
	case kwRole, kwUser:
		return p.administrative()
	}
	p.advance()
	p.unexpected()
	return nil
}

func (p *parser) drop() ast.Statement {
	object := p.peek(1).kw
	switch object {
	case kwRole, kwUser, kwFunction, kwAggregate, kwTrigger:
		return p.administrative()
	case kwKeyspace, kwTable, kwType, kwIndex, kwMaterialized:
	default:
		p.advance()
		p.unexpected()
		return nil
	}
	pos := p.start(2)
	if object == kwMaterialized {
		p.expect(kwView)
	}
	exists := p.ifExists()
	switch object {
	case kwKeyspace:
		return &ast.DropKeyspace{Pos: pos, IfExists: exists, Name: p.ident()}
	case kwTable:
		return &ast.DropTable{Pos: pos, IfExists: exists, Table: p.qualifiedName()}
	case kwType:
		return &ast.DropType{Pos: pos, IfExists: exists, Type: p.qualifiedName()}
	case kwIndex:
		return &ast.DropIndex{Pos: pos, IfExists: exists, Index: p.qualifiedName()}
	default:
		return &ast.DropView{Pos: pos, IfExists: exists, View: p.qualifiedName()}
	}
}

// start passes over n words that are known and gives the first one's place.
func (p *parser) start(n int) ast.Pos {
	pos := p.tok().pos()
	for range n {
		p.advance()
	}
	return pos
}

func (p *parser) createKeyspace() ast.Statement {
	s := &ast.CreateKeyspace{Pos: p.start(2)}
	s.IfNotExists = p.ifNotExists()
	s.Name = p.ident()
	p.expect(kwWith)
	s.Properties = p.properties()
	return s
}

func (p *parser) alterKeyspace() ast.Statement {
	s := &ast.AlterKeyspace{Pos: p.start(2)}
	s.IfExists = p.ifExists()
	s.Name = p.ident()
	switch {
	case p.acceptSeq(kwAdd, kwTags):
		s.TagChange, s.Tags = ast.AddTags, p.tags()
	case p.acceptSeq(kwDrop, kwTags):
		s.TagChange, s.Tags = ast.DropTags, p.tags()
	default:
		p.expect(kwWith)
		s.Properties = p.properties()
	}
	return s
}

func (p *parser) tags() *ast.MapLiteral {
	if !p.tok().is('{') {
		p.mismatched("'{'")
		return nil
	}
	t := p.tok()
	m, ok := p.propertyValue().(*ast.MapLiteral)
	if !ok {
		p.syntaxAt(t, "no viable alternative at input '{'")
	}
	return m
}

func (p *parser) properties() []ast.Property {
	var list []ast.Property
	for ok := true; ok; ok = p.accept(kwAnd) {
		list = append(list, p.property())
	}
	return list
}

func (p *parser) property() ast.Property {
	name := p.name()
	p.expectPunct('=')
	return ast.Property{Pos: name.Pos, Name: lower(name.Text), Value: p.propertyValue()}
}

// propertyValue reads a constant, or a collection of constants.
func (p *parser) propertyValue() ast.Expr {
	t := p.tok()
	var e ast.Expr
	if t.isIdent() { // speculative_retry = always: a word is a string
		e = &ast.Literal{Pos: t.pos(), Kind: ast.StringLiteral, Text: p.ident()}
	} else {
		e = p.term()
	}
	if p.err == nil && !isConstant(e) {
		p.fail(cql.Invalid("Schema statements take constants only: line %d:%d", t.line, t.start-t.lineStart))
	}
	return e
}

// isConstant reports whether e is made of literals alone.
func isConstant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Literal:
		return true
	case *ast.ListLiteral:
		return allConstant(e.Items)
	case *ast.SetLiteral:
		return allConstant(e.Items)
	case *ast.MapLiteral:
		for _, entry := range e.Entries {
			if !isConstant(entry.Key) || !isConstant(entry.Value) {
				return false
			}
		}
		return true
	}
	return false
}

func allConstant(items []ast.Expr) bool {
	for _, e := range items {
		if !isConstant(e) {
			return false
		}
	}
	return true
}

// tableOptions reads WITH and what follows; required says whether it must be
// there.
func (p *parser) tableOptions(required bool) (o ast.TableOptions) {
	if !required && !p.tok().isWord(kwWith) {
		return o
	}
	p.expect(kwWith)
	for ok := true; ok; ok = p.accept(kwAnd) {
		switch {
		case p.acceptSeq(kwCompact, kwStorage):
			o.CompactStorage = true
		case p.acceptSeq(kwClustering, kwOrder, kwBy):
			p.expectPunct('(')
			for ok := true; ok; ok = p.acceptPunct(',') {
				o.ClusteringOrder = append(o.ClusteringOrder, p.ordering())
			}
			p.expectPunct(')')
		default:
			o.Properties = append(o.Properties, p.property())
		}
	}
	return o
}

func (p *parser) createTable() ast.Statement {
	s := &ast.CreateTable{Pos: p.start(2)}
	s.IfNotExists = p.ifNotExists()
	s.Table = p.qualifiedName()
	p.expectPunct('(')
	for {
		p.tableElement(s)
		if !p.acceptPunct(',') || p.tok().is(')') {
			break
		}
	}
	p.expectPunct(')')
	s.Options = p.tableOptions(false)
	return s
}

// tableElement reads a column or a PRIMARY KEY clause.
func (p *parser) tableElement(s *ast.CreateTable) {
	if p.acceptSeq(kwPrimary, kwKey) {
		partition, clustering := p.primaryKey()
		if s.PrimaryKeys++; s.PrimaryKeys == 1 {
			s.PartitionKey, s.ClusteringKey = partition, clustering
		}
		return
	}
	c := p.columnDef()
	if p.acceptSeq(kwPrimary, kwKey) {
		if s.PrimaryKeys++; s.PrimaryKeys == 1 {
			s.PartitionKey = []ast.Name{c.Name}
		}
	}
	s.Columns = append(s.Columns, c)
}

func (p *parser) columnDef() ast.ColumnDef {
	return ast.ColumnDef{Name: p.name(), Type: p.typeName(), Static: p.accept(kwStatic)}
}

// primaryKey reads ((a, b), c) or (a, c).
func (p *parser) primaryKey() (partition, clustering []ast.Name) {
	p.expectPunct('(')
	if p.acceptPunct('(') {
		partition = p.names()
	} else {
		partition = []ast.Name{p.name()}
	}
	if p.acceptPunct(',') {
		return partition, p.names()
	}
	p.expectPunct(')')
	return partition, nil
}

func (p *parser) alterTable() ast.Statement {
	s := &ast.AlterTable{Pos: p.start(2)}
	s.IfExists = p.ifExists()
	s.Table = p.qualifiedName()
	switch {
	case p.tagsAhead(kwAdd):
		s.Kind, s.Tags = ast.AlterTableAddTags, p.tags()
	case p.tagsAhead(kwDrop):
		s.Kind, s.Tags = ast.AlterTableDropTags, p.tags()
	case p.acceptSeq(kwDrop, kwCompact, kwStorage):
		s.Kind = ast.AlterTableDropCompact
	case p.accept(kwAdd):
		s.Kind = ast.AlterTableAdd
		s.IfNotExistsColumn = p.ifNotExists()
		p.listOf(func() { s.Columns = append(s.Columns, p.columnDef()) })
	case p.accept(kwDrop):
		s.Kind = ast.AlterTableDrop
		s.IfExistsColumn = p.ifExists()
		p.listOf(func() { s.Drop = append(s.Drop, p.name()) })
		var u ast.Using
		p.using(&u, false)
		s.Timestamp = u.Timestamp
	case p.accept(kwRename):
		s.Kind = ast.AlterTableRename
		s.IfExistsColumn = p.ifExists()
		s.Renames = p.renames()
	case p.accept(kwAlter):
		s.Kind = ast.AlterTableType
		name := p.name()
		p.expect(kwType)
		s.Columns = []ast.ColumnDef{{Name: name, Type: p.typeName()}}
	default:
		s.Kind = ast.AlterTableWith
		s.Options = p.tableOptions(true)
	}
	return s
}

// tagsAhead takes ADD TAGS or DROP TAGS before a map; TAGS can also be a column.
func (p *parser) tagsAhead(verb keyword) bool {
	return p.peek(2).is('{') && p.acceptSeq(verb, kwTags)
}

// listOf reads items separated by commas, in parentheses or without.
func (p *parser) listOf(item func()) {
	enclosed := p.acceptPunct('(')
	for ok := true; ok; ok = p.acceptPunct(',') {
		item()
	}
	if enclosed {
		p.expectPunct(')')
	}
}

func (p *parser) renames() []ast.Rename {
	var list []ast.Rename
	for ok := true; ok; ok = p.accept(kwAnd) {
		from := p.name()
		p.expect(kwTo)
		list = append(list, ast.Rename{From: from, To: p.name()})
	}
	return list
}

func (p *parser) restore() ast.Statement {
	s := &ast.RestoreTable{Pos: p.tok().pos()}
	p.advance()
	p.expect(kwTable)
	s.Target = p.qualifiedName()
	p.expect(kwFrom)
	p.expect(kwTable)
	s.Source = p.qualifiedName()
	if p.accept(kwWith) {
		s.Properties = p.properties()
	}
	return s
}

func (p *parser) fieldDef() ast.FieldDef { return ast.FieldDef{Name: p.name(), Type: p.typeName()} }

func (p *parser) createType() ast.Statement {
	s := &ast.CreateType{Pos: p.start(2)}
	s.IfNotExists = p.ifNotExists()
	s.Type = p.qualifiedName()
	p.expectPunct('(')
	for {
		s.Fields = append(s.Fields, p.fieldDef())
		if !p.acceptPunct(',') || p.tok().is(')') {
			break
		}
	}
	p.expectPunct(')')
	return s
}

func (p *parser) alterType() ast.Statement {
	s := &ast.AlterType{Pos: p.start(2)}
	s.IfExists = p.ifExists()
	s.Type = p.qualifiedName()
	switch {
	case p.accept(kwAdd):
		for ok := true; ok; ok = p.acceptPunct(',') {
			s.Fields = append(s.Fields, p.fieldDef())
		}
	case p.accept(kwAlter):
		s.Kind = ast.AlterTypeField
		name := p.name()
		p.expect(kwType)
		s.Fields = []ast.FieldDef{{Name: name, Type: p.typeName()}}
	case p.accept(kwRename):
		s.Kind = ast.AlterTypeRename
		s.Renames = p.renames()
	default:
		p.unexpected()
	}
	return s
}

func (p *parser) createIndex() ast.Statement {
	s := &ast.CreateIndex{Pos: p.start(1)}
	s.Custom = p.accept(kwCustom)
	p.expect(kwIndex)
	s.IfNotExists = p.ifNotExists()
	if !p.tok().isWord(kwOn) {
		s.Name = p.ident()
	}
	p.expect(kwOn)
	s.Table = p.qualifiedName()
	p.expectPunct('(')
	if !p.tok().is(')') {
		for ok := true; ok; ok = p.acceptPunct(',') {
			s.Targets = append(s.Targets, p.indexTarget())
		}
	}
	p.expectPunct(')')
	if p.accept(kwUsing) {
		t := p.tok()
		if t.kind != tokString {
			p.unexpected()
			return s
		}
		s.Class = stringText(p.text(t), t.escaped)
		p.advance()
	}
	if p.accept(kwWith) {
		s.Properties = p.properties()
	}
	return s
}

func (p *parser) indexTarget() ast.IndexTarget {
	t := p.tok()
	switch {
	case !p.peek(1).is('('):
		return ast.IndexTarget{Column: p.name()}
	case t.isWord(kwKeys), t.isWord(kwValues), t.isWord(kwEntries), t.isWord(kwFull):
		p.advance()
		p.advance()
		target := ast.IndexTarget{Func: lower(keywordNames[t.kw]), Column: p.name()}
		p.expectPunct(')')
		return target
	}
	p.unexpected()
	return ast.IndexTarget{}
}

func (p *parser) createView() ast.Statement {
	s := &ast.CreateView{Pos: p.start(2)}
	p.expect(kwView)
	s.IfNotExists = p.ifNotExists()
	s.View = p.qualifiedName()
	p.expect(kwAs)
	p.expect(kwSelect)
	s.Selectors = p.selectors()
	p.expect(kwFrom)
	s.Base = p.qualifiedName()
	if p.accept(kwWhere) {
		s.Where = p.relations()
	}
	p.expect(kwPrimary)
	p.expect(kwKey)
	s.PartitionKey, s.ClusteringKey = p.primaryKey()
	s.Options = p.tableOptions(false)
	return s
}
