package sql

import "strings"

// needles gives conditions that a WHERE implies and that are far cheaper to
// check than it: json_extract_scalar(column, path) = 'text' holds only for rows
// whose column has the text in it, or an escape that may stand for a part of it.
// A conjunction of WHERE may be false where it was NULL.
func (w *rewriter) needles(e Expr, s *scope) ([]string, error) {
	x, ok := e.(*Binary)
	if !ok {
		return nil, nil
	}
	switch x.Op {
	case "AND":
		left, err := w.needles(x.L, s)
		if err != nil {
			return nil, err
		}
		right, err := w.needles(x.R, s)
		return append(left, right...), err
	case "=":
		if n, err := w.needle(x.L, x.R, s); n != nil || err != nil {
			return n, err
		}
		return w.needle(x.R, x.L, s)
	}
	return nil, nil
}

func (w *rewriter) needle(call, text Expr, s *scope) ([]string, error) {
	c, ok := call.(*Call)
	l, isText := text.(*Literal)
	if !ok || !isText || c.Name != "json_extract_scalar" || len(c.Args) != 2 || l.Kind != "STRING" || !onlyString(l.Text) {
		return nil, nil
	}
	if _, ok := c.Args[0].(*Ref); !ok {
		return nil, nil
	}
	column, t, err := w.expr(c.Args[0], s)
	if err != nil || t.Name != "varchar" {
		return nil, err
	}
	return []string{"(contains(" + column + ", " + quoteString(l.Text) + `) OR contains(` + column + `, '\'))`}, nil
}

// onlyString reports whether no JSON scalar but a string has this text: a
// number's may be written in other ways.
func onlyString(s string) bool {
	return s != "true" && s != "false" && strings.Trim(s, "+-.0123456789eE") != ""
}
