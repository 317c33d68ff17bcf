package ast

// clause appends text when on.
func clause(dst []byte, on bool, text string) []byte {
	if on {
		return append(dst, text...)
	}
	return dst
}

// AppendCQL implements Node.
func (s *Use) AppendCQL(dst []byte) []byte { return AppendIdent(append(dst, "USE "...), s.Keyspace) }

// AppendCQL implements Node.
func (p Property) AppendCQL(dst []byte) []byte {
	dst = append(AppendIdent(dst, p.Name), " = "...)
	return p.Value.AppendCQL(dst)
}

func appendProperties(dst []byte, lead string, list []Property) []byte {
	for i, p := range list {
		if i == 0 {
			dst = append(dst, lead...)
		} else {
			dst = append(dst, " AND "...)
		}
		dst = p.AppendCQL(dst)
	}
	return dst
}

func (o *TableOptions) appendCQL(dst []byte) []byte {
	lead := " WITH "
	if o.CompactStorage {
		dst = append(append(dst, lead...), "COMPACT STORAGE"...)
		lead = " AND "
	}
	if len(o.ClusteringOrder) > 0 {
		dst = append(append(dst, lead...), "CLUSTERING ORDER BY ("...)
		dst = append(appendOrderings(dst, o.ClusteringOrder), ')')
		lead = " AND "
	}
	return appendProperties(dst, lead, o.Properties)
}

// AppendCQL implements Node.
func (s *CreateKeyspace) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "CREATE KEYSPACE "...), s.IfNotExists, "IF NOT EXISTS ")
	return appendProperties(AppendIdent(dst, s.Name), " WITH ", s.Properties)
}

// AppendCQL implements Node.
func (s *AlterKeyspace) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "ALTER KEYSPACE "...), s.IfExists, "IF EXISTS ")
	dst = AppendIdent(dst, s.Name)
	switch s.TagChange {
	case AddTags:
		return s.Tags.AppendCQL(append(dst, " ADD TAGS "...))
	case DropTags:
		return s.Tags.AppendCQL(append(dst, " DROP TAGS "...))
	}
	return appendProperties(dst, " WITH ", s.Properties)
}

// AppendCQL implements Node.
func (s *DropKeyspace) AppendCQL(dst []byte) []byte {
	return AppendIdent(clause(append(dst, "DROP KEYSPACE "...), s.IfExists, "IF EXISTS "), s.Name)
}

func appendColumnDefs(dst []byte, defs []ColumnDef) []byte {
	for i, c := range defs {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(c.Name.AppendCQL(dst), ' ')
		dst = clause(c.Type.AppendCQL(dst), c.Static, " STATIC")
	}
	return dst
}

func appendPrimaryKey(dst []byte, partition, clustering []Name) []byte {
	dst = append(dst, "PRIMARY KEY (("...)
	dst = append(appendNames(dst, partition), ')')
	if len(clustering) > 0 {
		dst = appendNames(append(dst, ", "...), clustering)
	}
	return append(dst, ')')
}

// AppendCQL implements Node.
func (s *CreateTable) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "CREATE TABLE "...), s.IfNotExists, "IF NOT EXISTS ")
	dst = append(s.Table.AppendCQL(dst), " ("...)
	dst = appendColumnDefs(dst, s.Columns)
	for i := range s.PrimaryKeys {
		dst = clause(dst, i > 0 || len(s.Columns) > 0, ", ")
		dst = appendPrimaryKey(dst, s.PartitionKey, s.ClusteringKey)
	}
	return s.Options.appendCQL(append(dst, ')'))
}

// AppendCQL implements Node.
func (s *AlterTable) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "ALTER TABLE "...), s.IfExists, "IF EXISTS ")
	dst = s.Table.AppendCQL(dst)
	switch s.Kind {
	case AlterTableAdd:
		dst = clause(append(dst, " ADD "...), s.IfNotExistsColumn, "IF NOT EXISTS ")
		dst = append(appendColumnDefs(append(dst, '('), s.Columns), ')')
	case AlterTableDrop:
		dst = clause(append(dst, " DROP "...), s.IfExistsColumn, "IF EXISTS ")
		dst = append(appendNames(append(dst, '('), s.Drop), ')')
		dst = Using{Timestamp: s.Timestamp}.appendCQL(dst)
	case AlterTableRename:
		dst = clause(append(dst, " RENAME "...), s.IfExistsColumn, "IF EXISTS ")
		dst = appendRenames(dst, s.Renames)
	case AlterTableWith:
		dst = s.Options.appendCQL(dst)
	case AlterTableType:
		dst = append(s.Columns[0].Name.AppendCQL(append(dst, " ALTER "...)), " TYPE "...)
		dst = s.Columns[0].Type.AppendCQL(dst)
	case AlterTableAddTags:
		dst = s.Tags.AppendCQL(append(dst, " ADD TAGS "...))
	case AlterTableDropTags:
		dst = s.Tags.AppendCQL(append(dst, " DROP TAGS "...))
	case AlterTableDropCompact:
		dst = append(dst, " DROP COMPACT STORAGE"...)
	}
	return dst
}

func appendRenames(dst []byte, list []Rename) []byte {
	for i, r := range list {
		if i > 0 {
			dst = append(dst, " AND "...)
		}
		dst = append(r.From.AppendCQL(dst), " TO "...)
		dst = r.To.AppendCQL(dst)
	}
	return dst
}

// AppendCQL implements Node.
func (s *DropTable) AppendCQL(dst []byte) []byte {
	return s.Table.AppendCQL(clause(append(dst, "DROP TABLE "...), s.IfExists, "IF EXISTS "))
}

// AppendCQL implements Node.
func (s *RestoreTable) AppendCQL(dst []byte) []byte {
	dst = append(s.Target.AppendCQL(append(dst, "RESTORE TABLE "...)), " FROM TABLE "...)
	return appendProperties(s.Source.AppendCQL(dst), " WITH ", s.Properties)
}

// AppendCQL implements Node.
func (s *Truncate) AppendCQL(dst []byte) []byte {
	return s.Table.AppendCQL(append(dst, "TRUNCATE TABLE "...))
}

func appendFields(dst []byte, fields []FieldDef, separator string) []byte {
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, separator...)
		}
		dst = f.Type.AppendCQL(append(f.Name.AppendCQL(dst), ' '))
	}
	return dst
}

// AppendCQL implements Node.
func (s *CreateType) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "CREATE TYPE "...), s.IfNotExists, "IF NOT EXISTS ")
	dst = append(s.Type.AppendCQL(dst), " ("...)
	return append(appendFields(dst, s.Fields, ", "), ')')
}

// AppendCQL implements Node.
func (s *AlterType) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "ALTER TYPE "...), s.IfExists, "IF EXISTS ")
	dst = s.Type.AppendCQL(dst)
	switch s.Kind {
	case AlterTypeAdd:
		dst = appendFields(append(dst, " ADD "...), s.Fields, ", ")
	case AlterTypeField:
		dst = append(s.Fields[0].Name.AppendCQL(append(dst, " ALTER "...)), " TYPE "...)
		dst = s.Fields[0].Type.AppendCQL(dst)
	case AlterTypeRename:
		dst = appendRenames(append(dst, " RENAME "...), s.Renames)
	}
	return dst
}

// AppendCQL implements Node.
func (s *DropType) AppendCQL(dst []byte) []byte {
	return s.Type.AppendCQL(clause(append(dst, "DROP TYPE "...), s.IfExists, "IF EXISTS "))
}

// AppendCQL implements Node.
func (s *CreateIndex) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "CREATE "...), s.Custom, "CUSTOM ")
	dst = clause(append(dst, "INDEX "...), s.IfNotExists, "IF NOT EXISTS ")
	if s.Name != "" {
		dst = append(AppendIdent(dst, s.Name), ' ')
	}
	dst = append(s.Table.AppendCQL(append(dst, "ON "...)), " ("...)
	for i, t := range s.Targets {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if t.Func != "" {
			dst = append(append(dst, t.Func...), '(')
		}
		dst = clause(t.Column.AppendCQL(dst), t.Func != "", ")")
	}
	dst = append(dst, ')')
	if s.Class != "" {
		dst = AppendString(append(dst, " USING "...), s.Class)
	}
	return appendProperties(dst, " WITH ", s.Properties)
}

// AppendCQL implements Node.
func (s *DropIndex) AppendCQL(dst []byte) []byte {
	return s.Index.AppendCQL(clause(append(dst, "DROP INDEX "...), s.IfExists, "IF EXISTS "))
}

// AppendCQL implements Node.
func (s *CreateView) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "CREATE MATERIALIZED VIEW "...), s.IfNotExists, "IF NOT EXISTS ")
	dst = appendSelectors(append(s.View.AppendCQL(dst), " AS SELECT "...), s.Selectors)
	dst = s.Base.AppendCQL(append(dst, " FROM "...))
	dst = append(appendRelations(dst, " WHERE ", s.Where), ' ')
	dst = appendPrimaryKey(dst, s.PartitionKey, s.ClusteringKey)
	return s.Options.appendCQL(dst)
}

// AppendCQL implements Node.
func (s *AlterView) AppendCQL(dst []byte) []byte {
	dst = clause(append(dst, "ALTER MATERIALIZED VIEW "...), s.IfExists, "IF EXISTS ")
	return s.Options.appendCQL(s.View.AppendCQL(dst))
}

// AppendCQL implements Node.
func (s *DropView) AppendCQL(dst []byte) []byte {
	return s.View.AppendCQL(clause(append(dst, "DROP MATERIALIZED VIEW "...), s.IfExists, "IF EXISTS "))
}

// AppendCQL implements Node. What was not kept is not printed.
func (s *Administrative) AppendCQL(dst []byte) []byte {
	dst = append(dst, s.Verb...)
	if s.Object != "" {
		dst = append(append(dst, ' '), s.Object...)
	}
	return dst
}
