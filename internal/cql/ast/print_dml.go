package ast

// AppendCQL implements Node.
func (s *Select) AppendCQL(dst []byte) []byte {
	dst = append(dst, "SELECT "...)
	if s.JSON {
		dst = append(dst, "JSON "...)
	}
	if s.Distinct {
		dst = append(dst, "DISTINCT "...)
	}
	dst = appendSelectors(dst, s.Selectors)
	dst = s.Table.AppendCQL(append(dst, " FROM "...))
	dst = appendRelations(dst, " WHERE ", s.Where)
	if len(s.GroupBy) > 0 {
		dst = appendNames(append(dst, " GROUP BY "...), s.GroupBy)
	}
	if len(s.OrderBy) > 0 {
		dst = appendOrderings(append(dst, " ORDER BY "...), s.OrderBy)
	}
	if s.PerPartitionLimit != nil {
		dst = s.PerPartitionLimit.AppendCQL(append(dst, " PER PARTITION LIMIT "...))
	}
	if s.Limit != nil {
		dst = s.Limit.AppendCQL(append(dst, " LIMIT "...))
	}
	if s.AllowFiltering {
		dst = append(dst, " ALLOW FILTERING"...)
	}
	return dst
}

func appendSelectors(dst []byte, selectors []Selector) []byte {
	if len(selectors) == 0 {
		return append(dst, '*')
	}
	for i, sel := range selectors {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = sel.Expr.AppendCQL(dst)
		if sel.Alias != "" {
			dst = AppendIdent(append(dst, " AS "...), sel.Alias)
		}
	}
	return dst
}

func appendOrderings(dst []byte, list []Ordering) []byte {
	for i, o := range list {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = o.Column.AppendCQL(dst)
		if o.Desc {
			dst = append(dst, " DESC"...)
		} else {
			dst = append(dst, " ASC"...)
		}
	}
	return dst
}

func appendRelations(dst []byte, lead string, relations []*Relation) []byte {
	for i, r := range relations {
		if i == 0 {
			dst = append(dst, lead...)
		} else {
			dst = append(dst, " AND "...)
		}
		dst = r.AppendCQL(dst)
	}
	return dst
}

// AppendCQL implements Node.
func (r *Relation) AppendCQL(dst []byte) []byte {
	switch r.Kind {
	case TupleRelation:
		dst = append(appendNames(append(dst, '('), r.Columns), ')')
	case TokenRelation:
		dst = append(appendNames(append(dst, "token("...), r.Columns), ')')
	default:
		dst = appendNames(dst, r.Columns)
	}
	switch r.Kind {
	case ElementRelation:
		dst = append(r.Key.AppendCQL(append(dst, '[')), ']')
	case FieldRelation:
		dst = AppendIdent(append(dst, '.'), r.Field)
	}
	dst = append(append(dst, ' '), r.Op.String()...)
	switch {
	case r.Op == OpIsNotNull:
		return dst
	case r.List != nil:
		return append(appendExprs(append(dst, " ("...), r.List), ')')
	default:
		return r.Value.AppendCQL(append(dst, ' '))
	}
}

// appendCQL keeps the order written, which is that of the bind markers.
func (u Using) appendCQL(dst []byte) []byte {
	ttlFirst := u.TTL != nil && u.Timestamp != nil && u.TTL.Position().Offset < u.Timestamp.Position().Offset
	lead := " USING "
	if ttlFirst {
		dst, lead = u.TTL.AppendCQL(append(dst, " USING TTL "...)), " AND "
	}
	if u.Timestamp != nil {
		dst, lead = u.Timestamp.AppendCQL(append(append(dst, lead...), "TIMESTAMP "...)), " AND "
	}
	if u.TTL != nil && !ttlFirst {
		dst = u.TTL.AppendCQL(append(append(dst, lead...), "TTL "...))
	}
	return dst
}

// AppendCQL implements Node.
func (s *Insert) AppendCQL(dst []byte) []byte {
	dst = s.Table.AppendCQL(append(dst, "INSERT INTO "...))
	if s.JSON != nil {
		dst = s.JSON.AppendCQL(append(dst, " JSON "...))
		if s.DefaultUnset {
			dst = append(dst, " DEFAULT UNSET"...)
		}
	} else {
		dst = appendNames(append(dst, " ("...), s.Columns)
		dst = append(appendExprs(append(dst, ") VALUES ("...), s.Values), ')')
	}
	if s.IfNotExists {
		dst = append(dst, " IF NOT EXISTS"...)
	}
	return s.Using.appendCQL(dst)
}

// AppendCQL implements Node.
func (a *Assignment) AppendCQL(dst []byte) []byte {
	dst = a.Column.AppendCQL(dst)
	switch a.Kind {
	case AssignElement:
		dst = append(a.Key.AppendCQL(append(dst, '[')), ']')
	case AssignField:
		dst = AppendIdent(append(dst, '.'), a.Field)
	}
	dst = append(dst, " = "...)
	switch a.Kind {
	case AssignAdd:
		dst = append(a.Column.AppendCQL(dst), " + "...)
	case AssignSubtract:
		dst = append(a.Column.AppendCQL(dst), " - "...)
	case AssignPrepend:
		dst = append(a.Value.AppendCQL(dst), " + "...)
		return a.Column.AppendCQL(dst)
	}
	return a.Value.AppendCQL(dst)
}

// AppendCQL implements Node.
func (s *Update) AppendCQL(dst []byte) []byte {
	dst = s.Table.AppendCQL(append(dst, "UPDATE "...))
	dst = s.Using.appendCQL(dst)
	for i, a := range s.Assignments {
		if i == 0 {
			dst = append(dst, " SET "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = a.AppendCQL(dst)
	}
	dst = appendRelations(dst, " WHERE ", s.Where)
	return appendConditions(dst, s.IfExists, s.If)
}

func appendConditions(dst []byte, exists bool, conditions []*Relation) []byte {
	if exists {
		return append(dst, " IF EXISTS"...)
	}
	return appendRelations(dst, " IF ", conditions)
}

// AppendCQL implements Node.
func (d Deletion) AppendCQL(dst []byte) []byte {
	dst = AppendIdent(dst, d.Column)
	switch {
	case d.Key != nil:
		dst = append(d.Key.AppendCQL(append(dst, '[')), ']')
	case d.Field != "":
		dst = AppendIdent(append(dst, '.'), d.Field)
	}
	return dst
}

// AppendCQL implements Node.
func (s *Delete) AppendCQL(dst []byte) []byte {
	dst = append(dst, "DELETE "...)
	for i, d := range s.Columns {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = d.AppendCQL(dst)
	}
	if len(s.Columns) > 0 {
		dst = append(dst, ' ')
	}
	dst = s.Table.AppendCQL(append(dst, "FROM "...))
	dst = s.Using.appendCQL(dst)
	dst = appendRelations(dst, " WHERE ", s.Where)
	return appendConditions(dst, s.IfExists, s.If)
}

// AppendCQL implements Node.
func (s *Batch) AppendCQL(dst []byte) []byte {
	dst = append(dst, "BEGIN "...)
	switch s.Kind {
	case UnloggedBatch:
		dst = append(dst, "UNLOGGED "...)
	case CounterBatch:
		dst = append(dst, "COUNTER "...)
	}
	dst = s.Using.appendCQL(append(dst, "BATCH"...))
	for _, st := range s.Statements {
		dst = append(st.AppendCQL(append(dst, ' ')), ';')
	}
	return append(dst, " APPLY BATCH"...)
}
