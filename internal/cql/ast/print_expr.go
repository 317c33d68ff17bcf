package ast

import "strconv"

// AppendCQL implements Node.
func (n Name) AppendCQL(dst []byte) []byte { return AppendIdent(dst, n.Text) }

// AppendCQL implements Node.
func (n QualifiedName) AppendCQL(dst []byte) []byte {
	if n.Keyspace != "" {
		dst = append(AppendIdent(dst, n.Keyspace), '.')
	}
	return AppendIdent(dst, n.Name)
}

// AppendCQL implements Node.
func (l *Literal) AppendCQL(dst []byte) []byte {
	switch l.Kind {
	case NullLiteral:
		return append(dst, "NULL"...)
	case StringLiteral:
		return AppendString(dst, l.Text)
	default:
		return append(dst, l.Text...)
	}
}

// AppendCQL implements Node.
func (m *BindMarker) AppendCQL(dst []byte) []byte {
	if m.Name == "" {
		return append(dst, '?')
	}
	return AppendIdent(append(dst, ':'), m.Name)
}

// AppendCQL implements Node.
func (l *ListLiteral) AppendCQL(dst []byte) []byte {
	return append(appendExprs(append(dst, '['), l.Items), ']')
}

// AppendCQL implements Node.
func (s *SetLiteral) AppendCQL(dst []byte) []byte {
	return append(appendExprs(append(dst, '{'), s.Items), '}')
}

// AppendCQL implements Node.
func (m *MapLiteral) AppendCQL(dst []byte) []byte {
	dst = append(dst, '{')
	for i, e := range m.Entries {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(e.Key.AppendCQL(dst), ": "...)
		dst = e.Value.AppendCQL(dst)
	}
	return append(dst, '}')
}

// AppendCQL implements Node.
func (t *TupleLiteral) AppendCQL(dst []byte) []byte {
	return append(appendExprs(append(dst, '('), t.Items), ')')
}

// AppendCQL implements Node.
func (u *UDTLiteral) AppendCQL(dst []byte) []byte {
	dst = append(dst, '{')
	for i, f := range u.Fields {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(f.Name.AppendCQL(dst), ": "...)
		dst = f.Value.AppendCQL(dst)
	}
	return append(dst, '}')
}

// AppendCQL implements Node.
func (f *FunctionCall) AppendCQL(dst []byte) []byte {
	if f.Keyspace != "" {
		dst = append(AppendIdent(dst, f.Keyspace), '.')
	}
	if f.Keyspace == "" && f.Name == "token" {
		dst = append(dst, "token"...) // reserved, and still the function's plain name
	} else {
		dst = AppendIdent(dst, f.Name)
	}
	dst = append(dst, '(')
	if f.Star {
		dst = append(dst, '*')
	}
	return append(appendExprs(dst, f.Args), ')')
}

// AppendCQL implements Node.
func (h *TypeHint) AppendCQL(dst []byte) []byte {
	dst = append(h.Type.AppendCQL(append(dst, '(')), ") "...)
	return h.Value.AppendCQL(dst)
}

// AppendCQL implements Node.
func (c *Cast) AppendCQL(dst []byte) []byte {
	dst = append(c.Value.AppendCQL(append(dst, "CAST("...)), " AS "...)
	return append(c.Type.AppendCQL(dst), ')')
}

// AppendCQL implements Node. Precedence needs no care: the parser keeps
// parentheses as a one-item TupleLiteral.
func (b *BinaryOp) AppendCQL(dst []byte) []byte {
	dst = b.Left.AppendCQL(dst)
	dst = append(dst, ' ', b.Op, ' ')
	return b.Right.AppendCQL(dst)
}

// AppendCQL implements Node. The space keeps a second minus from joining the
// first to a comment.
func (n *Negation) AppendCQL(dst []byte) []byte {
	return n.Value.AppendCQL(append(dst, "- "...))
}

// AppendCQL implements Node.
func (c *ColumnRef) AppendCQL(dst []byte) []byte { return AppendIdent(dst, c.Name) }

// AppendCQL implements Node.
func (m *ColumnMeta) AppendCQL(dst []byte) []byte {
	if m.TTL {
		dst = append(dst, "TTL("...)
	} else {
		dst = append(dst, "WRITETIME("...)
	}
	return append(m.Of.AppendCQL(dst), ')')
}

// AppendCQL implements Node.
func (e *Element) AppendCQL(dst []byte) []byte {
	dst = append(e.Of.AppendCQL(dst), '[')
	return append(e.Key.AppendCQL(dst), ']')
}

// AppendCQL implements Node.
func (s *Slice) AppendCQL(dst []byte) []byte {
	dst = append(s.Of.AppendCQL(dst), '[')
	if s.From != nil {
		dst = append(s.From.AppendCQL(dst), ' ')
	}
	dst = append(dst, ".."...)
	if s.To != nil {
		dst = s.To.AppendCQL(append(dst, ' '))
	}
	return append(dst, ']')
}

// AppendCQL implements Node.
func (f *Field) AppendCQL(dst []byte) []byte {
	return AppendIdent(append(f.Of.AppendCQL(dst), '.'), f.Name)
}

// AppendCQL implements Node.
func (t *TypeName) AppendCQL(dst []byte) []byte {
	switch t.Kind {
	case CustomType:
		return AppendString(dst, t.Name)
	case UserType:
		if t.Keyspace != "" {
			return AppendIdent(append(AppendIdent(dst, t.Keyspace), '.'), t.Name)
		}
		// A quoted name that is also a type's keyword is a user type's.
		if isTypeWord(t.Name) {
			return append(append(append(dst, '"'), t.Name...), '"')
		}
		return AppendIdent(dst, t.Name)
	}
	dst = append(dst, t.Name...)
	if t.Kind == NativeType {
		return dst
	}
	dst = append(dst, '<')
	for i, a := range t.Args {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = a.AppendCQL(dst)
	}
	if t.Kind == VectorType {
		dst = strconv.AppendInt(append(dst, ", "...), int64(t.Dimension), 10)
	}
	return append(dst, '>')
}

func isTypeWord(name string) bool {
	switch name {
	case "list", "set", "map", "tuple", "frozen", "vector":
		return true
	}
	return IsNativeType(name)
}

func appendExprs(dst []byte, items []Expr) []byte {
	for i, e := range items {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = e.AppendCQL(dst)
	}
	return dst
}

func appendNames(dst []byte, names []Name) []byte {
	for i, n := range names {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = n.AppendCQL(dst)
	}
	return dst
}
