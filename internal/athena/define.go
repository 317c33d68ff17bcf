package athena

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"spoor/internal/athena/serde"
	"spoor/internal/athena/sql"
	"spoor/internal/glue"
	"spoor/internal/kv"
	"spoor/internal/objects"
)

var textColumn = sql.Type{Name: "varchar"}

// define carries out a statement on the catalogue. It returns the lines of the
// result and its columns; none for statements that only change something.
func (s *Service) define(ctx context.Context, e *execution) ([]string, []column, error) {
	switch n := e.stmt.Node.(type) {
	case *sql.CreateDatabase:
		return nil, nil, s.createDatabase(ctx, e, n)
	case *sql.DropDatabase:
		return nil, nil, s.dropDatabase(ctx, e, n)
	case *sql.CreateTable:
		return nil, nil, s.createTable(ctx, e, n)
	case *sql.DropTable:
		return nil, nil, s.dropTable(ctx, e, n)
	case *sql.AlterTable:
		return nil, nil, s.alterTable(ctx, e, n)
	case *sql.Repair:
		lines, err := s.repair(ctx, e, n)
		return lines, nil, err
	case *sql.Show:
		return s.show(ctx, e, n)
	case *sql.Describe:
		return s.describe(ctx, e, n)
	}
	return nil, nil, userError(1200, "NOT_SUPPORTED: this statement is not supported by this server")
}

// apply commits a change of the catalogue.
func (s *Service) apply(change func(b *kv.Batch) error) error {
	b := s.cfg.Store.NewBatch()
	if err := change(b); err != nil {
		return errors.Join(err, b.Close())
	}
	return s.cfg.Journal.Commit(b)
}

func hiveError(format string, args ...any) error {
	return userError(1003, "FAILED: "+format, args...)
}

func (s *Service) createDatabase(ctx context.Context, e *execution, n *sql.CreateDatabase) error {
	if err := s.mayUse(ctx, e, "glue:CreateDatabase", n.Name, ""); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.cfg.Catalog.Database(scopeOf(e), n.Name)
	if err == nil {
		if n.IfNotExists {
			return nil
		}
		return hiveError("Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. AlreadyExistsException(message:Database %s already exists)", n.Name)
	}
	if !errors.Is(err, glue.ErrNoDatabase) {
		return err
	}
	return s.apply(func(b *kv.Batch) error {
		return s.cfg.Catalog.PutDatabase(b, scopeOf(e), glue.Database{Name: n.Name, Description: n.Comment, Location: n.Location, Parameters: n.Properties, Created: s.cfg.Now()})
	})
}

func (s *Service) dropDatabase(ctx context.Context, e *execution, n *sql.DropDatabase) error {
	if err := s.mayUse(ctx, e, "glue:DeleteDatabase", n.Name, ""); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	tables, err := s.cfg.Catalog.Tables(scopeOf(e), n.Name)
	switch {
	case errors.Is(err, glue.ErrNoDatabase) && n.IfExists:
		return nil
	case errors.Is(err, glue.ErrNoDatabase):
		return hiveError("SemanticException [Error 10072]: Database does not exist: %s", n.Name)
	case err != nil:
		return err
	case len(tables) > 0 && !n.Cascade:
		return hiveError("Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. InvalidOperationException(message:Database %s is not empty. One or more tables exist.)", n.Name)
	}
	return s.apply(func(b *kv.Batch) error { s.cfg.Catalog.DropDatabase(b, scopeOf(e), n.Name); return nil })
}

// storedAs are the SerDe and formats behind STORED AS.
var storedAs = map[string][3]string{
	"":         {serde.LazySimple, serde.TextInput, serde.TextOutput},
	"TEXTFILE": {serde.LazySimple, serde.TextInput, serde.TextOutput},
	"PARQUET":  {serde.ParquetSerde, serde.ParquetInput, serde.ParquetOutput},
}

func (s *Service) createTable(ctx context.Context, e *execution, n *sql.CreateTable) error {
	name := sql.Qualify(n.Name, e.Database)
	if err := s.mayUse(ctx, e, "glue:CreateTable", name.Database, name.Table); err != nil {
		return err
	}
	if strings.EqualFold(n.Properties["table_type"], "ICEBERG") {
		return userError(1200, "NOT_SUPPORTED: tables of Iceberg are not supported by this server") // nothing could write one
	}
	bucket, prefix, ok := splitLocation(n.Location)
	if !ok {
		return hiveError("Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. MetaException(message:Got exception: java.io.IOException No FileSystem for scheme of %s)", n.Location)
	}
	if err := s.allowed(ctx, e, fmt.Sprintf("Access denied when accessing s3://%s/%s", bucket, prefix), s.onBucket(e.call, "s3:ListBucket", bucket, "")); err != nil {
		return err
	}
	t := glue.Table{Database: name.Database, Name: name.Table, Description: n.Comment, Columns: glueColumns(n.Columns), PartitionKeys: glueColumns(n.PartitionBy),
		Location: n.Location, Serde: n.Serde, SerdeParams: map[string]string{}, InputFormat: n.InputFormat, OutputFormat: n.OutputFormat, Parameters: map[string]string{"EXTERNAL": "TRUE"}, Created: s.cfg.Now()}
	for k, v := range n.Properties {
		t.Parameters[k] = v
	}
	for k, v := range n.SerdeProps {
		t.SerdeParams[k] = v
	}
	formats, known := storedAs[n.StoredAs]
	if !known {
		return userError(1200, "NOT_SUPPORTED: STORED AS %s is not supported by this server", n.StoredAs)
	}
	for i, dst := range []*string{&t.Serde, &t.InputFormat, &t.OutputFormat} {
		if *dst == "" {
			*dst = formats[i]
		}
	}
	if d := n.Delimited; d != nil {
		for k, v := range map[string]string{"field.delim": d.Field, "escape.delim": d.Escape, "collection.delim": d.Collection, "mapkey.delim": d.MapKey, "line.delim": d.Line, "serialization.null.format": d.Null} {
			if v != "" {
				t.SerdeParams[k] = v
			}
		}
	}
	if _, err := serde.FormatOf(&t); err != nil {
		return userError(1200, "%s", err)
	}
	if len(t.Columns) == 0 {
		return hiveError("SemanticException [Error 10004]: the table %s has no columns", name.Table)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.cfg.Catalog.Table(scopeOf(e), name.Database, name.Table)
	switch {
	case errors.Is(err, glue.ErrNoDatabase):
		return hiveError("SemanticException [Error 10072]: Database does not exist: %s", name.Database)
	case err == nil && n.IfNotExists:
		return nil
	case err == nil:
		return hiveError("Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. AlreadyExistsException(message:Table %s already exists)", name.Table)
	case !errors.Is(err, glue.ErrNoTable):
		return err
	}
	return s.apply(func(b *kv.Batch) error { return s.cfg.Catalog.PutTable(b, scopeOf(e), t) })
}

func glueColumns(cols []sql.Column) []glue.Column {
	out := make([]glue.Column, len(cols))
	for i, c := range cols {
		out[i] = glue.Column{Name: c.Name, Type: c.Hive, Comment: c.Comment}
	}
	return out
}

func (s *Service) dropTable(ctx context.Context, e *execution, n *sql.DropTable) error {
	name := sql.Qualify(n.Name, e.Database)
	if err := s.mayUse(ctx, e, "glue:DeleteTable", name.Database, name.Table); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.cfg.Catalog.Table(scopeOf(e), name.Database, name.Table); err != nil {
		if missing(err) && n.IfExists {
			return nil
		}
		return notFound(err, name)
	}
	return s.apply(func(b *kv.Batch) error { s.cfg.Catalog.DropTable(b, scopeOf(e), name.Database, name.Table); return nil })
}

func missing(err error) bool {
	return errors.Is(err, glue.ErrNoTable) || errors.Is(err, glue.ErrNoDatabase)
}

func notFound(err error, n sql.TableName) error {
	if missing(err) {
		return hiveError("SemanticException [Error 10001]: Table not found %s.%s", n.Database, n.Table)
	}
	return err
}

// table finds a statement's table and asks for the right to read it.
func (s *Service) table(ctx context.Context, e *execution, name sql.Name, action string) (glue.Table, error) {
	n := sql.Qualify(name, e.Database)
	if err := s.mayUse(ctx, e, action, n.Database, n.Table); err != nil {
		return glue.Table{}, err
	}
	t, err := s.cfg.Catalog.Table(scopeOf(e), n.Database, n.Table)
	return t, notFound(err, n)
}

func (s *Service) alterTable(ctx context.Context, e *execution, n *sql.AlterTable) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	t, err := s.table(ctx, e, n.Name, "glue:UpdateTable")
	if err != nil {
		return err
	}
	switch n.Kind {
	case "ADD PARTITION", "DROP PARTITION":
		return s.alterPartitions(e, n, &t)
	case "SET LOCATION":
		if _, _, ok := splitLocation(n.Location); !ok {
			return hiveError("SemanticException [Error 10216]: Invalid location %s", n.Location)
		}
		t.Location = n.Location
	case "SET TBLPROPERTIES":
		for k, v := range n.Properties {
			t.Parameters[k] = v
		}
	case "ADD COLUMNS":
		t.Columns = append(t.Columns, glueColumns(n.Columns)...)
	case "REPLACE COLUMNS":
		t.Columns = glueColumns(n.Columns)
	}
	return s.apply(func(b *kv.Batch) error { return s.cfg.Catalog.PutTable(b, scopeOf(e), t) })
}

// valuesOf orders a partition's values as the table's keys.
func valuesOf(t *glue.Table, p sql.Partition) ([]string, error) {
	if len(p.Values) != len(t.PartitionKeys) {
		return nil, hiveError("SemanticException [Error 10006]: partition spec {%s} doesn't contain all (%d) partition columns", strings.Join(sortedKeys(p.Values), ", "), len(t.PartitionKeys))
	}
	out := make([]string, len(t.PartitionKeys))
	for i, k := range t.PartitionKeys {
		v, ok := p.Values[k.Name]
		if !ok {
			return nil, hiveError("SemanticException [Error 10098]: Non-Partition column appears in the partition specification: %s", strings.Join(sortedKeys(p.Values), ", "))
		}
		out[i] = v
	}
	return out, nil
}

func (s *Service) alterPartitions(e *execution, n *sql.AlterTable, t *glue.Table) error {
	return s.apply(func(b *kv.Batch) error {
		for _, p := range n.Partitions {
			values, err := valuesOf(t, p)
			if err != nil {
				return err
			}
			has, err := s.cfg.Catalog.HasPartition(scopeOf(e), t.Database, t.Name, values)
			if err != nil {
				return err
			}
			if n.Kind == "DROP PARTITION" {
				if !has && !n.IfNotExists {
					return hiveError("SemanticException [Error 10006]: Partition not found (%s)", strings.Join(values, ", "))
				}
				s.cfg.Catalog.DropPartition(b, scopeOf(e), t.Database, t.Name, values)
				continue
			}
			if has {
				if n.IfNotExists {
					continue
				}
				return hiveError("Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. AlreadyExistsException(message:Partition already exists: %s)", strings.Join(values, ", "))
			}
			loc := p.Location
			if loc == "" {
				loc = locate(t, "", values)
			}
			if err := s.cfg.Catalog.PutPartition(b, scopeOf(e), t.Database, t.Name, glue.Partition{Values: values, Location: loc}); err != nil {
				return err
			}
		}
		return nil
	})
}

// repair adds the partitions whose directories key=value lie below the table's
// location and that the catalogue lacks.
func (s *Service) repair(ctx context.Context, e *execution, n *sql.Repair) ([]string, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	t, err := s.table(ctx, e, n.Name, "glue:BatchCreatePartition")
	if err != nil {
		return nil, err
	}
	bucket, prefix, ok := splitLocation(t.Location)
	if !ok {
		return nil, hiveError("the table's location is no S3 path")
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	if err := s.allowed(ctx, e, "Access denied when listing "+t.Location, s.onBucket(e.call, "s3:ListBucket", bucket, "")); err != nil {
		return nil, err
	}
	found := map[string]glue.Partition{}
	err = s.cfg.Objects.List(ctx, bucket, prefix, "", func(i objects.Item) bool {
		if values, dir, ok := partitionValues(t.PartitionKeys, strings.TrimPrefix(i.Key, prefix)); ok {
			found[dir] = glue.Partition{Values: values, Location: "s3://" + bucket + "/" + prefix + dir}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("listing a table's files: %w", err)
	}
	var lines []string
	err = s.apply(func(b *kv.Batch) error {
		for dir, p := range found {
			has, err := s.cfg.Catalog.HasPartition(scopeOf(e), t.Database, t.Name, p.Values)
			if err != nil {
				return err
			}
			if has {
				continue
			}
			lines = append(lines, fmt.Sprintf("Repair: Added partition to metastore %s:%s", t.Name, strings.TrimSuffix(dir, "/")))
			if err := s.cfg.Catalog.PutPartition(b, scopeOf(e), t.Database, t.Name, p); err != nil {
				return err
			}
		}
		return nil
	})
	sort.Strings(lines)
	return lines, err
}

// like matches Hive's patterns: * for anything, | for alternatives.
func like(pattern string) func(string) bool {
	if pattern == "" {
		return func(string) bool { return true }
	}
	var alts []string
	for _, p := range strings.Split(pattern, "|") {
		alts = append(alts, strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*"))
	}
	re := regexp.MustCompile(`(?i)^(?:` + strings.Join(alts, "|") + `)$`)
	return re.MatchString
}

func (s *Service) show(ctx context.Context, e *execution, n *sql.Show) ([]string, []column, error) {
	one := func(name string) []column { return []column{{name, textColumn}} }
	match := like(n.Pattern)
	switch n.Kind {
	case "DATABASES":
		if err := s.mayUse(ctx, e, "glue:GetDatabases", "*", ""); err != nil {
			return nil, nil, err
		}
		all, err := s.cfg.Catalog.Databases(scopeOf(e))
		var out []string
		for _, d := range all {
			if match(d.Name) {
				out = append(out, d.Name)
			}
		}
		return out, one("database_name"), err
	case "TABLES":
		db := n.Database
		if db == "" {
			db = sql.Qualify(sql.Name{Parts: []string{"t"}}, e.Database).Database
		}
		if err := s.mayUse(ctx, e, "glue:GetTables", db, "*"); err != nil {
			return nil, nil, err
		}
		all, err := s.cfg.Catalog.Tables(scopeOf(e), db)
		if errors.Is(err, glue.ErrNoDatabase) {
			return nil, nil, hiveError("SemanticException [Error 10072]: Database does not exist: %s", db)
		}
		var out []string
		for _, t := range all {
			if match(t.Name) {
				out = append(out, t.Name)
			}
		}
		return out, one("tab_name"), err
	case "VIEWS":
		return nil, one("views"), nil
	}
	t, err := s.table(ctx, e, n.Name, "glue:GetTable")
	if err != nil {
		return nil, nil, err
	}
	var out []string
	switch n.Kind {
	case "COLUMNS":
		for _, c := range append(append([]glue.Column(nil), t.Columns...), t.PartitionKeys...) {
			out = append(out, fmt.Sprintf("%-20s", c.Name))
		}
		return out, one("field"), nil
	case "PARTITIONS":
		if len(t.PartitionKeys) == 0 {
			return nil, nil, hiveError("SemanticException [Error 10001]: Table %s is not a partitioned table", t.Name)
		}
		parts, err := s.cfg.Catalog.Partitions(scopeOf(e), t.Database, t.Name)
		for _, p := range parts {
			var kvs []string
			for i, k := range t.PartitionKeys {
				kvs = append(kvs, k.Name+"="+p.Values[i])
			}
			out = append(out, strings.Join(kvs, "/"))
		}
		return out, one("partition"), err
	case "TBLPROPERTIES":
		for _, k := range sortedKeys(t.Parameters) {
			if n.Pattern == "" || n.Pattern == k {
				out = append(out, k+"\t"+t.Parameters[k])
			}
		}
		return out, []column{{"prpt_name", textColumn}, {"prpt_value", textColumn}}, nil
	}
	return createStatement(&t), one("createtab_stmt"), nil
}

// createStatement is SHOW CREATE TABLE's text.
func createStatement(t *glue.Table) []string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
	cols := func(list []glue.Column) []string {
		var out []string
		for i, c := range list {
			line := "  `" + c.Name + "` " + c.Type
			if c.Comment != "" {
				line += " COMMENT " + quote(c.Comment)
			}
			if i < len(list)-1 {
				line += ", "
			} else {
				line += ")"
			}
			out = append(out, line)
		}
		return out
	}
	out := append([]string{"CREATE EXTERNAL TABLE `" + t.Database + "." + t.Name + "`("}, cols(t.Columns)...)
	if t.Description != "" {
		out = append(out, "COMMENT "+quote(t.Description))
	}
	if len(t.PartitionKeys) > 0 {
		out = append(append(out, "PARTITIONED BY ( "), cols(t.PartitionKeys)...)
	}
	out = append(out, "ROW FORMAT SERDE ", "  "+quote(t.Serde)+" ")
	properties := func(head string, m map[string]string) {
		if len(m) == 0 {
			return
		}
		out = append(out, head)
		keys := sortedKeys(m)
		for i, k := range keys {
			end := ", "
			if i == len(keys)-1 {
				end = ") "
			}
			out = append(out, "  "+quote(k)+"="+quote(m[k])+end)
		}
	}
	properties("WITH SERDEPROPERTIES ( ", t.SerdeParams)
	out = append(out, "STORED AS INPUTFORMAT ", "  "+quote(t.InputFormat)+" ", "OUTPUTFORMAT ", "  "+quote(t.OutputFormat), "LOCATION", "  "+quote(t.Location))
	properties("TBLPROPERTIES (", t.Parameters)
	return out
}

// describe is DESCRIBE of a Hive table: name, type and comment padded to 20
// characters, then the partition columns once more.
func (s *Service) describe(ctx context.Context, e *execution, n *sql.Describe) ([]string, []column, error) {
	t, err := s.table(ctx, e, n.Name, "glue:GetTable")
	if err != nil {
		return nil, nil, err
	}
	line := func(a, b, c string) string { return fmt.Sprintf("%-20s\t%-20s\t%-20s", a, b, c) }
	var out []string
	for _, c := range append(append([]glue.Column(nil), t.Columns...), t.PartitionKeys...) {
		out = append(out, line(c.Name, c.Type, c.Comment))
	}
	if len(t.PartitionKeys) > 0 {
		out = append(out, line("", "", ""), line("# Partition Information", "", ""), line("# col_name", "data_type", "comment"), line("", "", ""))
		for _, c := range t.PartitionKeys {
			out = append(out, line(c.Name, c.Type, c.Comment))
		}
	}
	return out, []column{{"col_name", textColumn}, {"data_type", textColumn}, {"comment", textColumn}}, nil
}
