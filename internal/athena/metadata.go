package athena

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/glue"
	"spoor/internal/kv"
)

// metadataOperations are named queries, work groups and the catalogue.
func (s *Service) metadataOperations() []call.Operation {
	// What the catalogue holds is Glue's, and needs its rights too (Athena user
	// guide, "Access to databases and tables in the AWS Glue Data Catalog").
	onGlue := func(c *call.Call, op string, name *string, action, database, table string) []call.Permission {
		return append(s.onCatalog(c, op, name), glueARNs(c.Region, c.AccountID, action, database, table)...)
	}
	return []call.Operation{
		call.Op("CreateNamedQuery", func(c *call.Call, in *sdk.CreateNamedQueryInput) ([]call.Permission, error) {
			return s.onWorkGroup(c, "CreateNamedQuery", in.WorkGroup), nil
		}, s.createNamed, call.Omit("QueryString")),
		call.Op("GetNamedQuery", func(c *call.Call, in *sdk.GetNamedQueryInput) ([]call.Permission, error) {
			return s.onNamed(c, "GetNamedQuery", in.NamedQueryId), nil
		}, s.getNamed, call.ReadOnly),
		call.Op("BatchGetNamedQuery", func(c *call.Call, in *sdk.BatchGetNamedQueryInput) ([]call.Permission, error) {
			var out []call.Permission
			for i := range in.NamedQueryIds {
				out = append(out, s.onNamed(c, "BatchGetNamedQuery", &in.NamedQueryIds[i])...)
			}
			return out, nil
		}, s.batchGetNamed, call.ReadOnly),
		call.Op("ListNamedQueries", func(c *call.Call, in *sdk.ListNamedQueriesInput) ([]call.Permission, error) {
			return s.onWorkGroup(c, "ListNamedQueries", in.WorkGroup), nil
		}, s.listNamed, call.ReadOnly),
		call.Op("UpdateNamedQuery", func(c *call.Call, in *sdk.UpdateNamedQueryInput) ([]call.Permission, error) {
			return s.onNamed(c, "UpdateNamedQuery", in.NamedQueryId), nil
		}, s.updateNamed, call.Omit("QueryString")),
		call.Op("DeleteNamedQuery", func(c *call.Call, in *sdk.DeleteNamedQueryInput) ([]call.Permission, error) {
			return s.onNamed(c, "DeleteNamedQuery", in.NamedQueryId), nil
		}, s.deleteNamed),
		call.Op("GetDatabase", func(c *call.Call, in *sdk.GetDatabaseInput) ([]call.Permission, error) {
			return onGlue(c, "GetDatabase", in.CatalogName, "glue:GetDatabase", str(in.DatabaseName), ""), nil
		}, s.getDatabase, call.ReadOnly),
		call.Op("ListDatabases", func(c *call.Call, in *sdk.ListDatabasesInput) ([]call.Permission, error) {
			return onGlue(c, "ListDatabases", in.CatalogName, "glue:GetDatabases", "*", ""), nil
		}, s.listDatabases, call.ReadOnly),
		call.Op("GetTableMetadata", func(c *call.Call, in *sdk.GetTableMetadataInput) ([]call.Permission, error) {
			return onGlue(c, "GetTableMetadata", in.CatalogName, "glue:GetTable", str(in.DatabaseName), str(in.TableName)), nil
		}, s.getTableMetadata, call.ReadOnly),
		call.Op("ListTableMetadata", func(c *call.Call, in *sdk.ListTableMetadataInput) ([]call.Permission, error) {
			return onGlue(c, "ListTableMetadata", in.CatalogName, "glue:GetTables", str(in.DatabaseName), "*"), nil
		}, s.listTableMetadata, call.ReadOnly),
	}
}

// namedQuery is a saved query.
type namedQuery struct {
	ID, Name, Description, Database, Query, WorkGroup, Token string
}

func (q *namedQuery) sdk() *types.NamedQuery {
	return &types.NamedQuery{NamedQueryId: &q.ID, Name: &q.Name, Description: optional(q.Description), Database: &q.Database, QueryString: &q.Query, WorkGroup: &q.WorkGroup}
}

func (s *Service) named(c *call.Call, id *string) (*namedQuery, error) {
	q, err := load[namedQuery](s, key(c, "named", str(id)))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, invalid(invalidInput, "NamedQuery %s was not found", str(id))
	}
	return q, err
}

func (s *Service) onNamed(c *call.Call, op string, id *string) []call.Permission {
	group := primary
	if q, err := s.named(c, id); err == nil {
		group = q.WorkGroup
	}
	return s.onWorkGroup(c, op, &group)
}

func (s *Service) createNamed(_ context.Context, c *call.Call, in *sdk.CreateNamedQueryInput) (*sdk.CreateNamedQueryOutput, error) {
	q := &namedQuery{ID: call.NewID(), Name: str(in.Name), Description: str(in.Description), Database: str(in.Database), Query: str(in.QueryString), WorkGroup: workGroupOr(in.WorkGroup), Token: str(in.ClientRequestToken)}
	if _, err := s.workGroup(c, q.WorkGroup); err != nil {
		return nil, err
	}
	c.Tx.Lock(&s.writing)
	if q.Token != "" {
		tk := key(c, "named-token", q.Token)
		switch old, err := load[namedQuery](s, tk); {
		case err == nil:
			same := *old
			same.ID = q.ID
			if same != *q {
				return nil, invalid("IDEMPOTENT_PARAMETER_MISMATCH", "Idempotent parameters do not match")
			}
			return &sdk.CreateNamedQueryOutput{NamedQueryId: &old.ID}, nil
		case !errors.Is(err, kv.ErrNotFound):
			return nil, err
		}
		c.Tx.Set(tk, encode(q))
	}
	c.Tx.Set(key(c, "named", q.ID), encode(q))
	return &sdk.CreateNamedQueryOutput{NamedQueryId: &q.ID}, nil
}

func (s *Service) getNamed(_ context.Context, c *call.Call, in *sdk.GetNamedQueryInput) (*sdk.GetNamedQueryOutput, error) {
	q, err := s.named(c, in.NamedQueryId)
	if err != nil {
		return nil, err
	}
	return &sdk.GetNamedQueryOutput{NamedQuery: q.sdk()}, nil
}

func (s *Service) batchGetNamed(_ context.Context, c *call.Call, in *sdk.BatchGetNamedQueryInput) (*sdk.BatchGetNamedQueryOutput, error) {
	out := &sdk.BatchGetNamedQueryOutput{NamedQueries: []types.NamedQuery{}, UnprocessedNamedQueryIds: []types.UnprocessedNamedQueryId{}}
	for _, id := range in.NamedQueryIds {
		q, err := s.named(c, &id)
		if err != nil {
			out.UnprocessedNamedQueryIds = append(out.UnprocessedNamedQueryIds, types.UnprocessedNamedQueryId{NamedQueryId: &id, ErrorCode: new(invalidInput), ErrorMessage: new(aws.AsError(err).Message)})
			continue
		}
		out.NamedQueries = append(out.NamedQueries, *q.sdk())
	}
	return out, nil
}

// pageOf cuts a page from an ordered list; the token names the last one given.
func pageOf[T any](list []T, token *string, size int, name func(T) string) ([]T, *string, error) {
	start := 0
	if str(token) != "" {
		raw, err := base64.RawURLEncoding.DecodeString(*token)
		if err != nil {
			return nil, nil, invalid(invalidInput, "Malformed nextPageToken %s", *token)
		}
		start = sort.Search(len(list), func(i int) bool { return name(list[i]) > string(raw) })
	}
	list = list[start:]
	if len(list) <= size {
		return list, nil, nil
	}
	return list[:size], new(base64.RawURLEncoding.EncodeToString([]byte(name(list[size-1])))), nil
}

func (s *Service) listNamed(_ context.Context, c *call.Call, in *sdk.ListNamedQueriesInput) (*sdk.ListNamedQueriesOutput, error) {
	group := workGroupOr(in.WorkGroup)
	if _, err := s.workGroup(c, group); err != nil {
		return nil, err
	}
	ids := []string{}
	err := s.cfg.Store.Scan(key(c, "named"), func(_, v []byte) (bool, error) {
		var q namedQuery
		err := json.Unmarshal(v, &q)
		if q.WorkGroup == group {
			ids = append(ids, q.ID)
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	part, next, err := pageOf(ids, in.NextToken, pageSize(in.MaxResults, maxBatch), func(s string) string { return s })
	return &sdk.ListNamedQueriesOutput{NamedQueryIds: part, NextToken: next}, err
}

func (s *Service) updateNamed(_ context.Context, c *call.Call, in *sdk.UpdateNamedQueryInput) (*sdk.UpdateNamedQueryOutput, error) {
	c.Tx.Lock(&s.writing)
	q, err := s.named(c, in.NamedQueryId)
	if err != nil {
		return nil, err
	}
	q.Name, q.Query = str(in.Name), str(in.QueryString)
	if in.Description != nil {
		q.Description = *in.Description
	}
	c.Tx.Set(key(c, "named", q.ID), encode(q))
	return &sdk.UpdateNamedQueryOutput{}, nil
}

func (s *Service) deleteNamed(_ context.Context, c *call.Call, in *sdk.DeleteNamedQueryInput) (*sdk.DeleteNamedQueryOutput, error) {
	c.Tx.Lock(&s.writing)
	if _, err := s.named(c, in.NamedQueryId); err != nil {
		return nil, err
	}
	c.Tx.Delete(key(c, "named", str(in.NamedQueryId)))
	return &sdk.DeleteNamedQueryOutput{}, nil
}

func metadataError(format string, args ...any) error {
	return &aws.Error{Op: "athena", Kind: aws.NotFound, Status: 400, Code: "MetadataException", Message: fmt.Sprintf(format, args...)}
}

func scope(c *call.Call) glue.Scope { return glue.Scope{Account: c.AccountID, Region: c.Region} }

func sdkDatabase(d glue.Database) types.Database {
	return types.Database{Name: &d.Name, Description: optional(d.Description), Parameters: d.Parameters}
}

func (s *Service) getDatabase(_ context.Context, c *call.Call, in *sdk.GetDatabaseInput) (*sdk.GetDatabaseOutput, error) {
	if err := s.checkCatalog(c, in.CatalogName); err != nil {
		return nil, err
	}
	d, err := s.cfg.Catalog.Database(scope(c), str(in.DatabaseName))
	if errors.Is(err, glue.ErrNoDatabase) {
		return nil, metadataError("Database %s not found.", str(in.DatabaseName))
	}
	if err != nil {
		return nil, err
	}
	return &sdk.GetDatabaseOutput{Database: new(sdkDatabase(d))}, nil
}

func (s *Service) listDatabases(_ context.Context, c *call.Call, in *sdk.ListDatabasesInput) (*sdk.ListDatabasesOutput, error) {
	if err := s.checkCatalog(c, in.CatalogName); err != nil {
		return nil, err
	}
	all, err := s.cfg.Catalog.Databases(scope(c))
	if err != nil {
		return nil, err
	}
	part, next, err := pageOf(all, in.NextToken, pageSize(in.MaxResults, maxBatch), func(d glue.Database) string { return d.Name })
	out := &sdk.ListDatabasesOutput{DatabaseList: []types.Database{}, NextToken: next}
	for _, d := range part {
		out.DatabaseList = append(out.DatabaseList, sdkDatabase(d))
	}
	return out, err
}

func sdkTable(t glue.Table) types.TableMetadata {
	cols := func(list []glue.Column) []types.Column {
		out := []types.Column{}
		for _, c := range list {
			out = append(out, types.Column{Name: &c.Name, Type: &c.Type, Comment: optional(c.Comment)})
		}
		return out
	}
	params := map[string]string{"inputformat": t.InputFormat, "outputformat": t.OutputFormat, "location": t.Location, "serde.serialization.lib": t.Serde}
	for k, v := range t.Parameters {
		params[k] = v
	}
	for k, v := range t.SerdeParams {
		params["serde.param."+k] = v
	}
	return types.TableMetadata{Name: &t.Name, CreateTime: &t.Created, TableType: new("EXTERNAL_TABLE"), Columns: cols(t.Columns), PartitionKeys: cols(t.PartitionKeys), Parameters: params}
}

func (s *Service) getTableMetadata(_ context.Context, c *call.Call, in *sdk.GetTableMetadataInput) (*sdk.GetTableMetadataOutput, error) {
	if err := s.checkCatalog(c, in.CatalogName); err != nil {
		return nil, err
	}
	t, err := s.cfg.Catalog.Table(scope(c), str(in.DatabaseName), str(in.TableName))
	if missing(err) {
		return nil, metadataError("EntityNotFoundException: Table %s not found.", str(in.TableName))
	}
	if err != nil {
		return nil, err
	}
	return &sdk.GetTableMetadataOutput{TableMetadata: new(sdkTable(t))}, nil
}

func (s *Service) listTableMetadata(_ context.Context, c *call.Call, in *sdk.ListTableMetadataInput) (*sdk.ListTableMetadataOutput, error) {
	if err := s.checkCatalog(c, in.CatalogName); err != nil {
		return nil, err
	}
	all, err := s.cfg.Catalog.Tables(scope(c), str(in.DatabaseName))
	if missing(err) {
		return nil, metadataError("Database %s not found.", str(in.DatabaseName))
	}
	if err != nil {
		return nil, err
	}
	if x := str(in.Expression); x != "" {
		re, err := regexp.Compile("^(?:" + x + ")$")
		if err != nil {
			return nil, invalid(invalidInput, "The expression is not a valid pattern.")
		}
		kept := all[:0]
		for _, t := range all {
			if re.MatchString(t.Name) {
				kept = append(kept, t)
			}
		}
		all = kept
	}
	part, next, err := pageOf(all, in.NextToken, pageSize(in.MaxResults, maxBatch), func(t glue.Table) string { return t.Name })
	out := &sdk.ListTableMetadataOutput{TableMetadataList: []types.TableMetadata{}, NextToken: next}
	for _, t := range part {
		out.TableMetadataList = append(out.TableMetadataList, sdkTable(t))
	}
	return out, err
}
