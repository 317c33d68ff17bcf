package keyspaces

import (
	"strings"

	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/types"
)

// binder finds out which column each bind marker of a statement stands for. The
// statement has been compiled before, so names and forms are known to be right.
type binder struct {
	t     *Table
	specs []frame.ColumnSpec
	key   []uint16 // the markers of the partition key, in its order; nil unless all are there
}

// expr describes the markers in an expression that is to be a t.
func (b *binder) expr(e ast.Expr, t *types.Type, name string) {
	switch e := e.(type) {
	case *ast.BindMarker:
		if e.Name != "" {
			name = e.Name
		}
		spec := frame.ColumnSpec{Name: name, Type: t}
		if b.t != nil {
			spec.Keyspace, spec.Table = b.t.Keyspace, b.t.Name
		}
		b.specs[e.Index] = spec
	case *ast.ListLiteral:
		b.items(e.Items, t, name)
	case *ast.SetLiteral:
		b.items(e.Items, t, name)
	case *ast.TupleLiteral:
		if t.Kind != types.Tuple && len(e.Items) == 1 {
			b.expr(e.Items[0], t, name)
			return
		}
		for i, x := range e.Items {
			if i < len(t.Args) {
				b.expr(x, t.Args[i], name+"["+itoa(i)+"]")
			}
		}
	case *ast.MapLiteral:
		if t.Kind == types.Map {
			for _, x := range e.Entries {
				b.expr(x.Key, t.Args[0], "key("+name+")")
				b.expr(x.Value, t.Args[1], "value("+name+")")
			}
		}
	case *ast.UDTLiteral:
		for _, f := range e.Fields {
			if i := t.FieldIndex(f.Name.Text); i >= 0 {
				b.expr(f.Value, t.Args[i], name+"."+f.Name.Text)
			}
		}
	case *ast.TypeHint:
		if hint := typeOf(e); hint != nil {
			t = hint
		}
		b.expr(e.Value, t, name)
	case *ast.FunctionCall:
		b.call(e)
	}
}

func (b *binder) items(list []ast.Expr, t *types.Type, name string) {
	for _, x := range list {
		if len(t.Args) > 0 {
			b.expr(x, t.Args[0], "value("+name+")")
		}
	}
}

func (b *binder) call(f *ast.FunctionCall) {
	name := strings.ToLower(f.Name)
	if name == "token" && b.t != nil {
		for i, a := range f.Args {
			if i < len(b.t.Partition) {
				b.expr(a, b.t.Partition[i].Type, "partition key token")
			}
		}
		return
	}
	if name == "fromjson" && len(f.Args) == 1 {
		b.expr(f.Args[0], types.Scalar(types.Text), "arg0(system.fromjson)")
		return
	}
	if o := pick(f, nil); o != nil {
		for i, a := range f.Args {
			b.expr(a, o.args[i], "arg"+itoa(i)+"(system."+name+")")
		}
	}
}

func (b *binder) using(u ast.Using) {
	if u.Timestamp != nil {
		b.expr(u.Timestamp, types.Scalar(types.Bigint), "[timestamp]")
	}
	if u.TTL != nil {
		b.expr(u.TTL, types.Scalar(types.Int), "[ttl]")
	}
}

func (b *binder) statement(stmt ast.Statement) {
	t := b.t
	switch s := stmt.(type) {
	case *ast.Select:
		for _, x := range s.Selectors {
			b.expr(x.Expr, types.Scalar(types.Blob), "[selection]")
		}
		b.relations(s.Where)
		if s.PerPartitionLimit != nil {
			b.expr(s.PerPartitionLimit, types.Scalar(types.Int), "[per_partition_limit]")
		}
		if s.Limit != nil {
			b.expr(s.Limit, types.Scalar(types.Int), "[limit]")
		}
	case *ast.Insert:
		if s.JSON != nil {
			b.expr(s.JSON, types.Scalar(types.Text), "[json]")
		}
		keys := make([]ast.Expr, len(t.Partition))
		for i, n := range s.Columns {
			if c := t.byName[n.Text]; c != nil {
				b.expr(s.Values[i], c.Type, c.Name)
				if c.Kind == partitionKey {
					keys[c.Pos] = s.Values[i]
				}
			}
		}
		b.partition(keys)
		b.using(s.Using)
	case *ast.Update:
		b.using(s.Using)
		for _, a := range s.Assignments {
			b.assignment(a)
		}
		b.relations(s.Where)
		b.relations(s.If)
	case *ast.Delete:
		for _, d := range s.Columns {
			if c := t.byName[d.Column]; c != nil && d.Key != nil {
				b.elementKey(d.Key, c)
			}
		}
		b.using(s.Using)
		b.relations(s.Where)
		b.relations(s.If)
	}
}

// elementKey describes the marker of an element's key or position.
func (b *binder) elementKey(e ast.Expr, c *Column) {
	if c.Type.Kind == types.List {
		b.expr(e, types.Scalar(types.Int), "idx("+c.Name+")")
	} else if c.Type.IsCollection() {
		b.expr(e, c.Type.Args[0], "key("+c.Name+")")
	}
}

func (b *binder) assignment(a *ast.Assignment) {
	c := b.t.byName[a.Column.Text]
	if c == nil {
		return
	}
	typ, name := c.Type, c.Name
	switch {
	case a.Key != nil:
		b.elementKey(a.Key, c)
		typ, name = typ.Args[len(typ.Args)-1], "value("+c.Name+")"
	case a.Field != "":
		if i := typ.FieldIndex(a.Field); i >= 0 {
			typ, name = typ.Args[i], c.Name+"."+a.Field
		}
	case a.Kind == ast.AssignSubtract && typ.Kind == types.Map:
		typ = types.SetOf(typ.Args[0])
	}
	b.expr(a.Value, typ, name)
}

func (b *binder) relations(list []*ast.Relation) {
	keys := make([]ast.Expr, len(b.t.Partition))
	for _, r := range list {
		c := b.t.byName[r.Columns[0].Text]
		if c == nil {
			continue
		}
		typ, err := operandType(r, c)
		if err != nil {
			continue
		}
		name := c.Name
		switch r.Kind {
		case ast.TokenRelation:
			name = "partition key token"
		case ast.ElementRelation:
			b.elementKey(r.Key, c)
			name = "value(" + c.Name + ")"
		case ast.TupleRelation:
			typ = &types.Type{Kind: types.Tuple, Frozen: true}
			var n []string
			for _, x := range r.Columns {
				typ.Args = append(typ.Args, b.t.byName[x.Text].Type)
				n = append(n, x.Text)
			}
			name = "(" + strings.Join(n, ",") + ")"
		}
		switch {
		case r.Op == ast.OpIn && r.List == nil:
			b.expr(r.Value, types.ListOf(typ), "in("+name+")")
		case r.Op == ast.OpIn:
			for _, x := range r.List {
				b.expr(x, typ, name)
			}
		case r.Value != nil:
			b.expr(r.Value, typ, name)
		}
		if r.Kind == ast.ColumnRelation && r.Op == ast.OpEq && c.Kind == partitionKey {
			keys[c.Pos] = r.Value
		}
	}
	b.partition(keys)
}

// partition notes the markers of the partition key.
func (b *binder) partition(keys []ast.Expr) {
	var out []uint16
	for _, k := range keys {
		m, ok := k.(*ast.BindMarker)
		if !ok {
			return
		}
		out = append(out, uint16(m.Index))
	}
	b.key = out
}
