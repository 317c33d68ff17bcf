package keyspaces

import (
	"bytes"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
)

// test is a relation or condition whose right side has been evaluated.
type test struct {
	rel  *ast.Relation
	cols []*Column
	typ  *types.Type
	// values is the right side: one value, or the items of IN. A tuple's are its
	// components, item by item.
	values [][]byte
	key    []byte // of an ElementRelation
	isIf   bool
}

// compileTests evaluates the right sides of relations. In conditions (isIf)
// null is a value like others.
func compileTests(t *Table, rels []*ast.Relation, ev *env, isIf bool) ([]test, error) {
	out := make([]test, 0, len(rels))
	for _, r := range rels {
		x := test{rel: r, isIf: isIf}
		for _, n := range r.Columns {
			c := t.byName[n.Text]
			if c == nil {
				return nil, undefined(n.Text)
			}
			x.cols = append(x.cols, c)
		}
		if err := x.prepare(ev); err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// operandType gives the type of a relation's right side.
func operandType(r *ast.Relation, c *Column) (*types.Type, error) {
	t := c.Type
	switch {
	case r.Kind == ast.TokenRelation:
		return types.Scalar(types.Bigint), nil
	case r.Kind == ast.ElementRelation && t.Kind == types.Map:
		return t.Args[1], nil
	case r.Kind == ast.ElementRelation && t.Kind == types.List:
		return t.Args[0], nil
	case r.Kind == ast.ElementRelation:
		return nil, public(cql.Invalid("Column %s cannot be used as a map", c.Name))
	case r.Kind == ast.FieldRelation:
		if i := t.FieldIndex(r.Field); i >= 0 {
			return t.Args[i], nil
		}
		return nil, public(cql.Invalid("Unknown field %s for column %s", r.Field, c.Name))
	case r.Op == ast.OpContains && t.IsCollection():
		return t.Args[len(t.Args)-1], nil
	case r.Op == ast.OpContainsKey && t.Kind == types.Map:
		return t.Args[0], nil
	case r.Op == ast.OpContains || r.Op == ast.OpContainsKey:
		return nil, public(cql.Invalid("Cannot use %s on non-collection column %s", r.Op, c.Name))
	}
	return t, nil
}

func (x *test) prepare(ev *env) (err error) {
	r, c := x.rel, x.cols[0]
	if r.Kind == ast.TupleRelation {
		return x.prepareTuple(ev)
	}
	if x.typ, err = operandType(r, c); err != nil {
		return err
	}
	if r.Kind == ast.ElementRelation {
		kt := types.Scalar(types.Int)
		if c.Type.Kind == types.Map {
			kt = c.Type.Args[0]
		}
		v, err := types.Coerce(r.Key, kt, "key("+c.Name+")", &ev.Env)
		if err != nil {
			return err
		}
		if x.key = v.Data; v.Data == nil {
			return public(cql.Invalid("Invalid null value for an element of %s", c.Name))
		}
	}
	if r.Op == ast.OpIn {
		x.values, err = inValues(r, x.typ, c.Name, ev)
		return err
	}
	v, err := types.Coerce(r.Value, x.typ, c.Name, &ev.Env)
	if err != nil {
		return err
	}
	if v.Unset {
		return public(cql.Invalid("Invalid unset value for column %s", c.Name))
	}
	if v.Data == nil && !x.isIf {
		return public(cql.Invalid("Unsupported null value for column %s", c.Name))
	}
	x.values = [][]byte{v.Data}
	return nil
}

func (x *test) prepareTuple(ev *env) error {
	tt := &types.Type{Kind: types.Tuple, Frozen: true}
	for _, c := range x.cols {
		tt.Args = append(tt.Args, c.Type)
	}
	x.typ = tt
	list := [][]byte{}
	if x.rel.Op == ast.OpIn {
		v, err := inValues(x.rel, tt, "in("+columnList(x.cols)+")", ev)
		if err != nil {
			return err
		}
		list = v
	} else {
		v, err := types.Coerce(x.rel.Value, tt, columnList(x.cols), &ev.Env)
		if err != nil {
			return err
		}
		list = append(list, v.Data)
	}
	for _, b := range list {
		parts, err := tt.Parts(b)
		if err != nil {
			return public(cql.Invalid("%s", err.Error()))
		}
		for len(parts) < len(x.cols) && x.rel.Op == ast.OpIn {
			return public(cql.Invalid("Expected %d elements in value tuple, but got %d", len(x.cols), len(parts)))
		}
		for _, p := range parts {
			if p == nil {
				return public(cql.Invalid("Invalid null value in condition for columns: %s", columnList(x.cols)))
			}
		}
	}
	x.values = list
	return nil
}

// left gives the value of the relation's left side on a row.
func (x *test) left(r *row) ([]byte, error) {
	if x.rel.Kind == ast.TupleRelation {
		parts := make([][]byte, len(x.cols))
		for i, c := range x.cols {
			v, err := r.value(c)
			if err != nil {
				return nil, err
			}
			parts[i] = append([]byte{}, v...)
		}
		return x.typ.Join(parts), nil
	}
	v, err := r.value(x.cols[0])
	if err != nil || v == nil {
		return nil, err
	}
	switch x.rel.Kind {
	case ast.ElementRelation:
		return element(x.cols[0].Type, v, x.key)
	case ast.FieldRelation:
		parts, err := x.cols[0].Type.Parts(v)
		if i := x.cols[0].Type.FieldIndex(x.rel.Field); err == nil && i < len(parts) {
			return parts[i], nil
		}
		return nil, err
	}
	return v, nil
}

// element gives m[key] or l[index]; nil when it is not there.
func element(t *types.Type, v, key []byte) ([]byte, error) {
	parts, err := t.Parts(v)
	if err != nil {
		return nil, err
	}
	if t.Kind == types.List {
		if i := types.Int64(key); i >= 0 && i < int64(len(parts)) {
			return parts[i], nil
		}
		return nil, nil
	}
	step := len(t.Args)
	for i := 0; i < len(parts); i += step {
		if t.Args[0].Compare(parts[i], key) == 0 {
			return parts[i+step-1], nil
		}
	}
	return nil, nil
}

// holds judges a row.
func (x *test) holds(r *row) (bool, error) {
	v, err := x.left(r)
	if err != nil {
		return false, err
	}
	if x.rel.Op == ast.OpIn {
		for _, item := range x.values {
			if (v == nil) == (item == nil) && x.typ.Compare(v, item) == 0 {
				return true, nil
			}
		}
		return false, nil
	}
	want := x.values[0]
	if x.rel.Op == ast.OpContains || x.rel.Op == ast.OpContainsKey {
		return contains(x.cols[0].Type, v, want, x.rel.Op == ast.OpContainsKey)
	}
	if v == nil || want == nil {
		switch x.rel.Op {
		case ast.OpEq:
			return v == nil && want == nil, nil
		case ast.OpNe:
			return (v == nil) != (want == nil), nil
		}
		if want == nil {
			return false, public(cql.Invalid("Invalid comparison with null for operator \"%s\"", x.rel.Op))
		}
		return false, nil
	}
	c := 0
	if x.rel.Kind == ast.TupleRelation {
		c, err = x.compareTuple(v, want)
	} else if x.typ.Kind == types.Duration {
		c = bytes.Compare(v, want)
	} else {
		c = x.typ.Compare(v, want)
	}
	return compares(x.rel.Op, c), err
}

// compareTuple compares by as many components as the constant has.
func (x *test) compareTuple(a, b []byte) (int, error) {
	pa, err := x.typ.Parts(a)
	if err != nil {
		return 0, err
	}
	pb, err := x.typ.Parts(b)
	if err != nil {
		return 0, err
	}
	for i := range min(len(pa), len(pb)) {
		if c := x.typ.Args[i].Compare(pa[i], pb[i]); c != 0 {
			return c, nil
		}
	}
	return 0, nil
}

func compares(op ast.Operator, c int) bool {
	switch op {
	case ast.OpEq:
		return c == 0
	case ast.OpNe:
		return c != 0
	case ast.OpLt:
		return c < 0
	case ast.OpLe:
		return c <= 0
	case ast.OpGt:
		return c > 0
	case ast.OpGe:
		return c >= 0
	}
	return false
}

func contains(t *types.Type, v, want []byte, key bool) (bool, error) {
	if v == nil {
		return false, nil
	}
	parts, err := t.Parts(v)
	if err != nil {
		return false, err
	}
	step, at := len(t.Args), len(t.Args)-1
	if key {
		at = 0
	}
	for i := at; i < len(parts); i += step {
		if t.Args[at].Compare(parts[i], want) == 0 {
			return true, nil
		}
	}
	return false, nil
}
