package keyspaces

import (
	"strconv"
	"strings"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
)

// selector is one compiled expression of a SELECT.
type selector struct {
	name string
	typ  *types.Type
	col  *Column // a plain column, which needs no call of eval
	eval func(e *env, r *row) ([]byte, error)
	// agg makes the accumulator of an aggregate; eval then gives its values.
	agg func() *aggregate
}

func plainSelector(c *Column) selector {
	return selector{name: c.Name, typ: c.Type, col: c, eval: func(_ *env, r *row) ([]byte, error) { return r.value(c) }}
}

// compileSelector compiles an expression over a row of t.
func compileSelector(t *Table, e ast.Expr) (selector, error) {
	switch e := e.(type) {
	case *ast.ColumnRef:
		c := t.byName[e.Name]
		if c == nil {
			return selector{}, undefined(e.Name)
		}
		return plainSelector(c), nil
	case *ast.ColumnMeta:
		return compileMeta(t, e)
	case *ast.Cast:
		of, err := compileSelector(t, e.Value)
		if err != nil {
			return of, err
		}
		to, err := types.Resolve(e.Type, t.Keyspace, func(string, string) (*types.Type, bool) { return nil, false })
		if err != nil {
			return of, err
		}
		if !canCast(of.typ, to) {
			return of, public(cql.Invalid("%s cannot be cast to %s", of.typ, to))
		}
		return selector{name: "cast(" + of.name + " as " + to.String() + ")", typ: to, agg: of.agg, eval: func(ev *env, r *row) ([]byte, error) {
			v, err := of.eval(ev, r)
			if err != nil {
				return nil, err
			}
			return castTo(of.typ, to, v)
		}}, castOfAggregate(of)
	case *ast.FunctionCall:
		return compileCall(t, e)
	case *ast.Field:
		return compileField(t, e)
	case *ast.Element:
		return compileElement(t, e)
	case *ast.TypeHint:
		typ := typeOf(e)
		if typ == nil {
			return selector{}, public(cql.Invalid("Unknown type %s", ast.String(e.Type)))
		}
		return constantSelector(e, typ), nil
	}
	return selector{}, public(cql.Invalid("This expression is not supported in a selection"))
}

func castOfAggregate(s selector) error {
	if s.agg != nil {
		return public(cql.Invalid("Aggregate functions cannot be used within CAST"))
	}
	return nil
}

func constantSelector(e ast.Expr, typ *types.Type) selector {
	return selector{name: ast.String(e), typ: typ, eval: func(ev *env, _ *row) ([]byte, error) {
		v, err := types.Coerce(e, typ, "selection", &ev.Env)
		return v.Data, err
	}}
}

func compileMeta(t *Table, e *ast.ColumnMeta) (selector, error) {
	ref, ok := e.Of.(*ast.ColumnRef)
	fn := "writetime"
	if e.TTL {
		fn = "ttl"
	}
	if !ok {
		return selector{}, public(cql.Invalid("%s of an element is not supported", fn))
	}
	c := t.byName[ref.Name]
	switch {
	case c == nil:
		return selector{}, undefined(ref.Name)
	case c.isKey():
		return selector{}, public(cql.Invalid("Cannot use selection function %s on PRIMARY KEY part %s", map[bool]string{true: "ttl", false: "writeTime"}[e.TTL], c.Name))
	case c.Type.IsMultiCell():
		return selector{}, public(cql.Invalid("Cannot use selection function %s on non-frozen %s %s", map[bool]string{true: "ttl", false: "writeTime"}[e.TTL],
			map[bool]string{true: "collection", false: "UDT"}[c.Type.IsCollection()], c.Name))
	}
	s := selector{name: fn + "(" + c.Name + ")", typ: types.Scalar(types.Bigint)}
	if e.TTL {
		s.typ = types.Scalar(types.Int)
	}
	s.eval = func(_ *env, r *row) ([]byte, error) {
		if r.res == nil {
			return nil, nil
		}
		cells := r.cells(c)
		switch {
		case len(cells) == 0:
			return nil, nil
		case !e.TTL:
			return types.AppendInt(nil, cells[0].Timestamp, 8), nil
		case cells[0].Expiry == 0:
			return nil, nil
		}
		return types.AppendInt(nil, cells[0].Expiry-r.now, 4), nil
	}
	return s, nil
}

func compileField(t *Table, e *ast.Field) (selector, error) {
	of, err := compileSelector(t, e.Of)
	if err != nil {
		return of, err
	}
	i := of.typ.FieldIndex(e.Name)
	if of.typ.Kind != types.UDT || i < 0 {
		return of, public(cql.Invalid("%s of type %s has no field %s", of.name, of.typ, e.Name))
	}
	return selector{name: of.name + "." + e.Name, typ: of.typ.Args[i], eval: func(ev *env, r *row) ([]byte, error) {
		v, err := of.eval(ev, r)
		if err != nil || v == nil {
			return nil, err
		}
		parts, err := of.typ.Parts(v)
		if err != nil || i >= len(parts) {
			return nil, err
		}
		return parts[i], nil
	}}, nil
}

func compileElement(t *Table, e *ast.Element) (selector, error) {
	of, err := compileSelector(t, e.Of)
	if err != nil {
		return of, err
	}
	if of.typ.Kind != types.Map && of.typ.Kind != types.Set {
		return of, public(cql.Invalid("Invalid element selection: %s is of type %s", of.name, of.typ))
	}
	key := of.typ.Args[0]
	return selector{name: ast.String(e), typ: of.typ.Args[len(of.typ.Args)-1], eval: func(ev *env, r *row) ([]byte, error) {
		k, err := types.Coerce(e.Key, key, "key("+of.name+")", &ev.Env)
		if err != nil {
			return nil, err
		}
		v, err := of.eval(ev, r)
		if err != nil || v == nil || k.Data == nil {
			return nil, err
		}
		return element(of.typ, v, k.Data)
	}}, nil
}

func compileCall(t *Table, f *ast.FunctionCall) (selector, error) {
	name := strings.ToLower(f.Name)
	switch name {
	case "token":
		if len(f.Args) != len(t.Partition) {
			return selector{}, public(cql.Invalid("Invalid call to function token, none of its type signatures match"))
		}
		args, err := compileArgs(t, f.Args)
		if err != nil {
			return selector{}, err
		}
		return selector{name: "system.token(" + argNames(args) + ")", typ: types.Scalar(types.Bigint), eval: func(ev *env, r *row) ([]byte, error) {
			parts, err := evalArgs(args, ev, r)
			if err != nil {
				return nil, err
			}
			return types.AppendInt(nil, types.Token(joinKey(nil, parts)), 8), nil
		}}, nil
	case "count", "min", "max", "sum", "avg":
		return compileAggregate(t, f, name)
	case "tojson":
		args, err := compileArgs(t, f.Args)
		if err != nil || len(args) != 1 {
			return selector{}, cmpErr(err, unknownFunction(f))
		}
		return selector{name: "system.tojson(" + args[0].name + ")", typ: types.Scalar(types.Text), eval: func(ev *env, r *row) ([]byte, error) {
			v, err := args[0].eval(ev, r)
			return args[0].typ.AppendJSON(nil, v), err
		}}, nil
	}
	o := pick(f, func(e ast.Expr) *types.Type {
		if s, err := compileSelector(t, e); err == nil {
			return s.typ
		}
		return nil
	})
	if o == nil {
		return selector{}, public(cql.AsError(unknownFunction(f)))
	}
	args := make([]selector, len(f.Args))
	for i, a := range f.Args {
		var err error
		switch a.(type) {
		case *ast.Literal, *ast.BindMarker:
			args[i] = constantSelector(a, o.args[i])
		default:
			if args[i], err = compileSelector(t, a); err != nil {
				return selector{}, err
			}
		}
	}
	return selector{name: "system." + name + "(" + argNames(args) + ")", typ: o.ret, eval: func(ev *env, r *row) ([]byte, error) {
		values, err := evalArgs(args, ev, r)
		if err != nil {
			return nil, err
		}
		return o.apply(ev, values)
	}}, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func compileArgs(t *Table, list []ast.Expr) ([]selector, error) {
	out := make([]selector, len(list))
	for i, a := range list {
		var err error
		if out[i], err = compileSelector(t, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func evalArgs(args []selector, ev *env, r *row) ([][]byte, error) {
	out := make([][]byte, len(args))
	for i := range args {
		var err error
		if out[i], err = args[i].eval(ev, r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func argNames(args []selector) string {
	n := make([]string, len(args))
	for i := range args {
		n[i] = args[i].name
	}
	return strings.Join(n, ", ")
}

func compileAggregate(t *Table, f *ast.FunctionCall, name string) (selector, error) {
	if f.Star {
		return selector{name: "count", typ: types.Scalar(types.Bigint), agg: func() *aggregate { return &aggregate{name: "count"} },
			eval: func(*env, *row) ([]byte, error) { return nil, nil }}, nil
	}
	args, err := compileArgs(t, f.Args)
	if err != nil || len(args) != 1 {
		return selector{}, cmpErr(err, public(cql.Invalid("Invalid call to function %s, none of its type signatures match", name)))
	}
	of := args[0]
	if of.agg != nil {
		return selector{}, public(cql.Invalid("aggregate functions cannot be used as arguments of aggregate functions"))
	}
	typ := of.typ
	if name == "count" {
		typ = types.Scalar(types.Bigint)
	} else if (name == "sum" || name == "avg") && !of.typ.IsNumber() {
		return selector{}, public(cql.Invalid("Invalid call to function %s, none of its type signatures match", name))
	}
	return selector{name: "system." + name + "(" + of.name + ")", typ: typ, eval: of.eval,
		agg: func() *aggregate { return &aggregate{name: name, t: of.typ} }}, nil
}

// limitValue evaluates LIMIT or PER PARTITION LIMIT; 0 means none.
func limitValue(e ast.Expr, name string, ev *env) (int64, error) {
	if e == nil {
		return 0, nil
	}
	v, err := types.Coerce(e, types.Scalar(types.Int), "["+name+"]", &ev.Env)
	if err != nil || v.Unset {
		return 0, err
	}
	if v.Data == nil {
		return 0, public(cql.Invalid("Invalid null value of %s", name))
	}
	n := types.Int64(v.Data)
	if n <= 0 {
		return 0, public(cql.Invalid("%s must be strictly positive", strings.ToUpper(name)))
	}
	return n, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
