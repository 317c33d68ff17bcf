package sql

import (
	"strings"
)

func (w *rewriter) groupBy(gs []GroupItem, s *scope) (string, error) {
	var out []string
	for _, g := range gs {
		var sets []string
		for _, set := range g.Sets {
			var parts []string
			for _, e := range set {
				sql, err := w.ordinalOr(e, s)
				if err != nil {
					return "", err
				}
				parts = append(parts, sql)
			}
			one := strings.Join(parts, ", ")
			if g.Kind == "GROUPING SETS" {
				one = "(" + one + ")"
			}
			sets = append(sets, one)
		}
		if g.Kind == "" {
			out = append(out, sets[0])
		} else {
			out = append(out, g.Kind+" ("+strings.Join(sets, ", ")+")")
		}
	}
	return strings.Join(out, ", "), nil
}

// ordinalOr keeps a plain integer, which is a position in the select list.
func (w *rewriter) ordinalOr(e Expr, s *scope) (string, error) {
	if l, ok := e.(*Literal); ok && l.Kind == "INTEGER" {
		return l.Text, nil
	}
	sql, _, err := w.expr(e, s)
	return sql, err
}

// orderBy may name output columns, which win over those of FROM.
func (w *rewriter) orderBy(items []SortItem, s *scope, output []Column) (string, error) {
	var out []string
	for _, it := range items {
		sql := ""
		if r, ok := it.Expr.(*Ref); ok && len(r.Parts) == 1 {
			for _, c := range output {
				if c.Name == r.Parts[0] {
					sql = quoteIdent(c.Name)
				}
			}
		}
		if sql == "" {
			var err error
			if sql, err = w.ordinalOr(it.Expr, s); err != nil {
				return "", err
			}
		}
		if it.Desc {
			sql += " DESC"
		}
		nulls := it.Nulls
		if nulls == "" {
			nulls = "LAST"
		}
		out = append(out, sql+" NULLS "+nulls)
	}
	return strings.Join(out, ", "), nil
}

func (w *rewriter) window(win *Window, s *scope) (string, error) {
	var parts []string
	if win.Base != "" {
		parts = append(parts, quoteIdent(win.Base))
	}
	if len(win.PartitionBy) > 0 {
		var ps []string
		for _, e := range win.PartitionBy {
			sql, _, err := w.expr(e, s)
			if err != nil {
				return "", err
			}
			ps = append(ps, sql)
		}
		parts = append(parts, "PARTITION BY "+strings.Join(ps, ", "))
	}
	if len(win.OrderBy) > 0 {
		o, err := w.orderBy(win.OrderBy, s, nil)
		if err != nil {
			return "", err
		}
		parts = append(parts, "ORDER BY "+o)
	}
	if win.Frame != "" {
		bound := func(b Bound) (string, error) {
			if b.N == nil {
				return b.Kind, nil
			}
			sql, _, err := w.expr(b.N, s)
			return sql + " " + b.Kind, err
		}
		start, err := bound(win.Start)
		if err != nil {
			return "", err
		}
		if win.End.Kind == "" {
			parts = append(parts, win.Frame+" "+start)
		} else {
			end, err := bound(win.End)
			if err != nil {
				return "", err
			}
			parts = append(parts, win.Frame+" BETWEEN "+start+" AND "+end)
		}
	}
	return strings.Join(parts, " "), nil
}

// collect gathers the predicates of a WHERE that every row must pass.
func (w *rewriter) collect(e Expr, s *scope) {
	add := func(x Expr, op string, vals ...Expr) {
		r, ok := x.(*Ref)
		if !ok {
			return
		}
		var texts []string
		for _, v := range vals {
			l, ok := v.(*Literal)
			if !ok || l.Kind != "STRING" && l.Kind != "INTEGER" {
				return
			}
			texts = append(texts, l.Text)
		}
		rel, col, rest, err := w.find(r, s)
		if err != nil || rel == nil || len(rest) > 0 || rel.relation == "" || rel.optional {
			return
		}
		w.out.Predicates[rel.relation] = append(w.out.Predicates[rel.relation], Predicate{Column: col.Name, Op: op, Values: texts})
	}
	flipped := map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
	switch x := e.(type) {
	case *Binary:
		if x.Op == "AND" {
			w.collect(x.L, s)
			w.collect(x.R, s)
			return
		}
		if f, ok := flipped[x.Op]; ok {
			if _, lit := x.L.(*Literal); lit {
				add(x.R, f, x.L)
			} else {
				add(x.L, x.Op, x.R)
			}
		}
	case *Between:
		if !x.Not {
			add(x.X, ">=", x.Lo)
			add(x.X, "<=", x.Hi)
		}
	case *In:
		if !x.Not && x.Query == nil {
			add(x.X, "IN", x.List...)
		}
	}
}

// find resolves a chain of names: a relation's column, and the fields left.
func (w *rewriter) find(r *Ref, s *scope) (*scopeRel, Column, []string, error) {
	for sc := s; sc != nil; sc = sc.outer {
		var rel *scopeRel
		var col Column
		var rest []string
		found := 0
		for i := range sc.rels {
			x := &sc.rels[i]
			if len(r.Parts) > 1 && x.alias == r.Parts[0] {
				if c, ok := column(x.columns, r.Parts[1]); ok {
					rel, col, rest = x, c, r.Parts[2:]
					found = 1
					break
				}
			}
			// catalog.database.table.column
			if len(r.Parts) > 3 && x.alias == r.Parts[2] && r.Parts[0] == AwsDataCatalog {
				if c, ok := column(x.columns, r.Parts[3]); ok {
					rel, col, rest = x, c, r.Parts[4:]
					found = 1
					break
				}
			}
			// database.table.column
			if len(r.Parts) > 2 && x.alias == r.Parts[1] {
				if c, ok := column(x.columns, r.Parts[2]); ok {
					rel, col, rest = x, c, r.Parts[3:]
					found = 1
					break
				}
			}
		}
		if found == 0 {
			for i := range sc.rels {
				if c, ok := column(sc.rels[i].columns, r.Parts[0]); ok {
					rel, col, rest = &sc.rels[i], c, r.Parts[1:]
					found++
				}
			}
		}
		if found > 1 {
			return nil, col, nil, semantic("AMBIGUOUS_NAME", r.At, "Column '%s' is ambiguous", r.Parts[0])
		}
		if found == 1 {
			return rel, col, rest, nil
		}
	}
	return nil, Column{}, nil, semantic("COLUMN_NOT_FOUND", r.At, "Column '%s' cannot be resolved or requester is not authorized to access requested resources", strings.Join(r.Parts, "."))
}

func column(cols []Column, name string) (Column, bool) {
	for _, c := range cols {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}
