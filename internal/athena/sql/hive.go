package sql

import (
	"strconv"
	"strings"
)

// definition parses Hive's data definition statements and those of Trino's
// that begin with the same words.
func (p *parser) definition() (*Statement, error) {
	ddl := func(sub string, node any, err error) (*Statement, error) {
		if err != nil {
			return nil, err
		}
		return &Statement{Type: "DDL", Substatement: sub, Node: node}, nil
	}
	switch {
	case p.word("CREATE"):
		return p.create()
	case p.word("DROP", "TABLE"):
		d := &DropTable{IfExists: p.word("IF", "EXISTS")}
		var err error
		d.Name, err = p.name(true)
		p.word("PURGE")
		return ddl("DROP_TABLE", d, err)
	case p.is("DROP", "DATABASE"), p.is("DROP", "SCHEMA"):
		p.pos += 2
		d := &DropDatabase{IfExists: p.word("IF", "EXISTS")}
		n, err := p.name(true)
		if err != nil {
			return nil, err
		}
		d.Name = n.Last()
		if d.Cascade = p.word("CASCADE"); !d.Cascade {
			p.word("RESTRICT")
		}
		return ddl("DROP_DATABASE", d, nil)
	case p.word("DROP", "VIEW"):
		p.skipRest()
		return ddl("DROP_VIEW", &Unsupported{What: "DROP VIEW"}, nil)
	case p.word("ALTER", "TABLE"):
		return p.alterTable()
	case p.is("ALTER", "DATABASE"), p.is("ALTER", "SCHEMA"):
		p.skipRest()
		return ddl("ALTER_DATABASE", &Unsupported{What: "ALTER DATABASE"}, nil)
	case p.word("MSCK"):
		p.word("REPAIR")
		p.word("TABLE")
		n, err := p.name(true)
		return ddl("MSCK_REPAIR", &Repair{Name: n}, err)
	case p.word("SHOW"):
		return p.show()
	case p.word("DESCRIBE"), p.word("DESC"):
		d := &Describe{Extended: p.word("EXTENDED") || p.word("FORMATTED")}
		var err error
		if d.Name, err = p.name(true); err != nil {
			return nil, err
		}
		return &Statement{Type: "UTILITY", Substatement: "DESCRIBE_TABLE", Node: d}, nil
	}
	return nil, &UnsupportedError{"Queries of this type are not supported"}
}

func (p *parser) create() (*Statement, error) {
	switch {
	case p.word("DATABASE"), p.word("SCHEMA"):
		d, err := p.createDatabase()
		if err != nil {
			return nil, err
		}
		return &Statement{Type: "DDL", Substatement: "CREATE_DATABASE", Node: d}, nil
	case p.is("OR", "REPLACE", "VIEW"), p.is("VIEW"):
		p.skipRest()
		return &Statement{Type: "DDL", Substatement: "CREATE_VIEW", Node: &Unsupported{What: "CREATE VIEW"}}, nil
	}
	external := p.word("EXTERNAL")
	if !p.word("TABLE") {
		return nil, p.unexpected("'DATABASE', 'EXTERNAL', 'OR', 'SCHEMA', 'TABLE', 'VIEW'")
	}
	c := &CreateTable{IfNotExists: p.word("IF", "NOT", "EXISTS")}
	var err error
	// CTAS is Trino's grammar; it is known by AS or WITH after the name.
	save := p.pos
	if c.Name, err = p.name(false); err == nil && !external && (p.is("AS") || p.is("WITH")) {
		p.skipRest()
		return &Statement{Type: "DDL", Substatement: "CREATE_TABLE_AS_SELECT", Node: &Unsupported{What: "CREATE TABLE AS"}}, nil
	}
	p.pos = save
	if c.Name, err = p.name(true); err != nil {
		return nil, err
	}
	if p.op("(") {
		if c.Columns, err = p.hiveColumns(); err != nil {
			return nil, err
		}
	}
	if err := p.tableClauses(c); err != nil {
		return nil, err
	}
	iceberg := strings.EqualFold(c.Properties["table_type"], "ICEBERG")
	switch {
	case c.Location == "":
		return nil, &UnsupportedError{"No location was specified for table. An S3 location must be specified"}
	case external && iceberg:
		return nil, &UnsupportedError{"External keyword not supported for table type ICEBERG"}
	case !external && !iceberg:
		return nil, &UnsupportedError{"External keyword required for table type HIVE"}
	}
	return &Statement{Type: "DDL", Substatement: "CREATE_TABLE", Node: c}, nil
}

func (p *parser) createDatabase() (*CreateDatabase, error) {
	d := &CreateDatabase{IfNotExists: p.word("IF", "NOT", "EXISTS")}
	n, err := p.name(true)
	if err != nil {
		return nil, err
	}
	d.Name = n.Last()
	for err == nil {
		switch {
		case p.word("COMMENT"):
			d.Comment, err = p.string()
		case p.word("LOCATION"):
			d.Location, err = p.string()
		case p.word("WITH", "DBPROPERTIES"):
			d.Properties, err = p.properties()
		default:
			return d, nil
		}
	}
	return nil, err
}

func (p *parser) tableClauses(c *CreateTable) error {
	var err error
	for err == nil {
		switch {
		case p.word("COMMENT"):
			c.Comment, err = p.string()
		case p.word("PARTITIONED", "BY"):
			if err = p.expectOp("("); err == nil {
				c.PartitionBy, err = p.hiveColumns()
			}
		case p.word("CLUSTERED", "BY"):
			if _, err = p.hiveNames(); err == nil {
				if p.word("SORTED", "BY") {
					p.skipParens()
				}
				if err = p.expect("INTO"); err == nil {
					p.take()
					err = p.expect("BUCKETS")
				}
			}
		case p.word("ROW", "FORMAT", "SERDE"):
			if c.Serde, err = p.string(); err == nil && p.word("WITH", "SERDEPROPERTIES") {
				c.SerdeProps, err = p.properties()
			}
		case p.word("ROW", "FORMAT", "DELIMITED"):
			c.Delimited, err = p.delimited()
		case p.word("WITH", "SERDEPROPERTIES"):
			c.SerdeProps, err = p.properties()
		case p.word("STORED", "AS"):
			if p.word("INPUTFORMAT") {
				if c.InputFormat, err = p.string(); err == nil {
					if err = p.expect("OUTPUTFORMAT"); err == nil {
						c.OutputFormat, err = p.string()
					}
				}
			} else if p.peek().kind != tIdent {
				err = p.unexpected("<identifier>")
			} else {
				c.StoredAs = p.take().up
			}
		case p.word("LOCATION"):
			c.Location, err = p.string()
		case p.word("TBLPROPERTIES"):
			c.Properties, err = p.properties()
		default:
			return nil
		}
	}
	return err
}

// skipParens moves past a parenthesised list that is not needed.
func (p *parser) skipParens() {
	for p.peek().kind != tEOF && !p.op(")") {
		p.take()
	}
}

func (p *parser) hiveNames() ([]string, error) {
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	var out []string
	for {
		n, err := p.hiveName()
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		if !p.op(",") {
			return out, p.expectOp(")")
		}
	}
}

// hiveName takes a word or a name in backticks.
func (p *parser) hiveName() (string, error) {
	t := p.peek()
	if t.kind != tIdent && t.kind != tBack {
		return "", p.unexpected("<identifier>")
	}
	p.take()
	return strings.ToLower(t.text), nil
}

func (p *parser) delimited() (*Delimited, error) {
	d := &Delimited{}
	for {
		var dst *string
		switch {
		case p.word("FIELDS", "TERMINATED", "BY"):
			dst = &d.Field
		case p.word("ESCAPED", "BY"):
			dst = &d.Escape
		case p.word("COLLECTION", "ITEMS", "TERMINATED", "BY"):
			dst = &d.Collection
		case p.word("MAP", "KEYS", "TERMINATED", "BY"):
			dst = &d.MapKey
		case p.word("LINES", "TERMINATED", "BY"):
			dst = &d.Line
		case p.word("NULL", "DEFINED", "AS"):
			dst = &d.Null
		default:
			return d, nil
		}
		s, err := p.string()
		if err != nil {
			return nil, err
		}
		*dst = unescapeHive(s)
	}
}

// unescapeHive reads the escapes of Hive's strings, as in '\t' and '\001'.
func unescapeHive(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case '0', '1', '2', '3':
			if i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i:i+3], 8, 8); err == nil {
					b.WriteByte(byte(n))
					i += 2
					continue
				}
			}
			b.WriteByte(s[i] - '0')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func (p *parser) properties() (map[string]string, error) {
	if err := p.expectOp("("); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for !p.isOp(")") {
		k, err := p.string()
		if err != nil {
			return nil, err
		}
		if err := p.expectOp("="); err != nil {
			return nil, err
		}
		v, err := p.string()
		if err != nil {
			return nil, err
		}
		out[k] = v
		if !p.op(",") {
			break
		}
	}
	return out, p.expectOp(")")
}

// hiveColumns reads columns up to the closing parenthesis.
func (p *parser) hiveColumns() ([]Column, error) {
	var out []Column
	for {
		c := Column{}
		var err error
		if c.Name, err = p.hiveName(); err != nil {
			return nil, err
		}
		start := p.peek().start
		if c.Type, err = p.hiveType(); err != nil {
			return nil, err
		}
		c.Hive = strings.Join(strings.Fields(strings.ToLower(p.src[start:p.toks[p.pos-1].end])), "")
		if p.word("COMMENT") {
			if c.Comment, err = p.string(); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
		if !p.op(",") {
			return out, p.expectOp(")")
		}
	}
}

var hiveTypes = map[string]string{"boolean": "boolean", "tinyint": "tinyint", "smallint": "smallint", "int": "integer", "integer": "integer",
	"bigint": "bigint", "float": "real", "double": "double", "string": "varchar", "varchar": "varchar", "char": "char", "binary": "varbinary",
	"date": "date", "timestamp": "timestamp", "decimal": "decimal"}

// hiveType parses a Hive type and gives Trino's for it.
func (p *parser) hiveType() (Type, error) {
	if err := p.enter(); err != nil {
		return Type{}, err
	}
	defer p.leave()
	t := p.peek()
	if t.kind != tIdent {
		return Type{}, p.unexpected("<type>")
	}
	p.take()
	word := strings.ToLower(t.text)
	switch word {
	case "array", "map":
		if err := p.expectOp("<"); err != nil {
			return Type{}, err
		}
		out := Type{Name: word}
		for {
			e, err := p.hiveType()
			if err != nil {
				return Type{}, err
			}
			out.Elems = append(out.Elems, e)
			if !p.op(",") {
				break
			}
		}
		if want := map[string]int{"array": 1, "map": 2}[word]; len(out.Elems) != want {
			return Type{}, p.unexpected("<type>")
		}
		return out, p.closeAngle()
	case "struct":
		return p.structType()
	}
	name, ok := hiveTypes[word]
	if !ok {
		return Type{}, &SyntaxError{t.line, t.col, "cannot recognize input near '" + t.text + "' in column type", "cannot recognize input near '<value>' in column type"}
	}
	out := Type{Name: name}
	if name == "timestamp" {
		out.Params = []int{3}
	}
	if p.op("(") {
		for {
			n, err := strconv.Atoi(p.peek().text)
			if err != nil || p.peek().kind != tInteger {
				return Type{}, p.unexpected("<integer>")
			}
			p.take()
			out.Params = append(out.Params, n)
			if !p.op(",") {
				break
			}
		}
		if err := p.expectOp(")"); err != nil {
			return Type{}, err
		}
	} else if name == "decimal" {
		out.Params = []int{10, 0}
	}
	if name == "decimal" && len(out.Params) == 1 {
		out.Params = append(out.Params, 0)
	}
	return out, nil
}

func (p *parser) structType() (Type, error) {
	out := Type{Name: "row"}
	if err := p.expectOp("<"); err != nil {
		return out, err
	}
	for {
		name, err := p.hiveName()
		if err != nil {
			return out, err
		}
		if err := p.expectOp(":"); err != nil {
			return out, err
		}
		e, err := p.hiveType()
		if err != nil {
			return out, err
		}
		if p.word("COMMENT") {
			if _, err := p.string(); err != nil {
				return out, err
			}
		}
		out.Fields, out.Elems = append(out.Fields, name), append(out.Elems, e)
		if !p.op(",") {
			return out, p.closeAngle()
		}
	}
}

// closeAngle takes the > that ends a type.
func (p *parser) closeAngle() error {
	if p.op(">") {
		return nil
	}
	return p.unexpected("'>'")
}

// ParseHiveType parses a column type of the catalogue.
func ParseHiveType(text string) (Type, error) {
	toks, err := lex(text)
	if err != nil {
		return Type{}, err
	}
	p := &parser{toks: toks, src: text}
	t, err := p.hiveType()
	if err == nil && p.peek().kind != tEOF {
		err = p.unexpected("<EOF>")
	}
	return t, err
}

func (p *parser) alterTable() (*Statement, error) {
	a := &AlterTable{}
	var err error
	if a.Name, err = p.name(true); err != nil {
		return nil, err
	}
	sub := ""
	switch {
	case p.word("ADD", "COLUMNS"), p.word("REPLACE", "COLUMNS"):
		a.Kind = p.toks[p.pos-2].up + " COLUMNS"
		sub = map[string]string{"ADD COLUMNS": "ALTER_TABLE_ADD_COLUMN", "REPLACE COLUMNS": "ALTER_TABLE_REPLACE_COLUMN"}[a.Kind]
		if err = p.expectOp("("); err == nil {
			a.Columns, err = p.hiveColumns()
		}
	case p.word("ADD"):
		a.Kind, sub = "ADD PARTITION", "ALTER_TABLE_ADD_PARTITION"
		a.IfNotExists = p.word("IF", "NOT", "EXISTS")
		err = p.partitions(a)
	case p.word("DROP"):
		a.Kind, sub = "DROP PARTITION", "ALTER_TABLE_DROP_PARTITION"
		a.IfNotExists = p.word("IF", "EXISTS")
		err = p.partitions(a)
	case p.word("SET", "LOCATION"):
		a.Kind, sub = "SET LOCATION", "ALTER_TABLE_SET_LOCATION"
		a.Location, err = p.string()
	case p.word("SET", "TBLPROPERTIES"):
		a.Kind, sub = "SET TBLPROPERTIES", "ALTER_TABLE_SET_PROPERTIES"
		a.Properties, err = p.properties()
	default:
		return nil, &UnsupportedError{"Queries of this type are not supported"}
	}
	if err != nil {
		return nil, err
	}
	return &Statement{Type: "DDL", Substatement: sub, Node: a}, nil
}

func (p *parser) partitions(a *AlterTable) error {
	for p.word("PARTITION") {
		part := Partition{Values: map[string]string{}}
		if err := p.expectOp("("); err != nil {
			return err
		}
		for {
			k, err := p.hiveName()
			if err != nil {
				return err
			}
			if err := p.expectOp("="); err != nil {
				return err
			}
			t := p.peek()
			if t.kind != tString && t.kind != tQuoted && t.kind != tInteger {
				return p.unexpected("<string>")
			}
			p.take()
			part.Values[k] = t.text
			if !p.op(",") {
				break
			}
		}
		if err := p.expectOp(")"); err != nil {
			return err
		}
		if p.word("LOCATION") {
			var err error
			if part.Location, err = p.string(); err != nil {
				return err
			}
		}
		a.Partitions = append(a.Partitions, part)
		p.op(",")
	}
	if len(a.Partitions) == 0 {
		return p.unexpected("'PARTITION'")
	}
	return nil
}

func (p *parser) show() (*Statement, error) {
	s := &Show{}
	util := func(sub string, err error) (*Statement, error) {
		if err != nil {
			return nil, err
		}
		return &Statement{Type: "UTILITY", Substatement: sub, Node: s}, nil
	}
	var err error
	switch {
	case p.word("TABLES"), p.word("VIEWS"):
		s.Kind = p.toks[p.pos-1].up
		if p.word("IN") || p.word("FROM") {
			var n Name
			if n, err = p.name(true); err != nil {
				return nil, err
			}
			s.Database = n.Last()
		}
		p.word("LIKE")
		if p.peek().kind == tString {
			s.Pattern = p.take().text
		}
		return util("SHOW_"+s.Kind, nil)
	case p.word("DATABASES"), p.word("SCHEMAS"):
		s.Kind = "DATABASES"
		p.word("LIKE")
		if p.peek().kind == tString {
			s.Pattern = p.take().text
		}
		return util("SHOW_DATABASES", nil)
	case p.word("COLUMNS"):
		s.Kind = "COLUMNS"
		if !p.word("IN") && !p.word("FROM") {
			return nil, p.unexpected("'FROM', 'IN'")
		}
		if s.Name, err = p.name(true); err == nil && len(s.Name.Parts) == 1 && (p.word("IN") || p.word("FROM")) {
			var db string
			db, err = p.hiveName()
			s.Name.Parts = []string{db, s.Name.Parts[0]}
		}
		return util("SHOW_COLUMNS", err)
	case p.word("PARTITIONS"):
		s.Kind = "PARTITIONS"
		s.Name, err = p.name(true)
		return util("SHOW_PARTITIONS", err)
	case p.word("CREATE", "TABLE"):
		s.Kind = "CREATE TABLE"
		s.Name, err = p.name(true)
		return util("SHOW_CREATE_TABLE", err)
	case p.word("TBLPROPERTIES"):
		s.Kind = "TBLPROPERTIES"
		if s.Name, err = p.name(true); err == nil && p.op("(") {
			if s.Pattern, err = p.string(); err == nil {
				err = p.expectOp(")")
			}
		}
		return util("SHOW_TBLPROPERTIES", err)
	}
	return nil, &UnsupportedError{"Queries of this type are not supported"}
}
