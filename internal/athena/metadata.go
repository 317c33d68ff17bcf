package athena

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/glue"
	"spoor/internal/kv"
)

// metadataOperations are named queries, work groups and the catalogue.
func (s *Service) metadataOperations() []call.Operation {
	catalogARN := func(c *call.Call, name string) string {
		return aws.NewARN("athena", c.Region, c.AccountID, "datacatalog/"+name).String()
	}
	onCatalog := func(c *call.Call, op string, name *string) []call.Permission {
		return []call.Permission{{Action: "athena:" + op, Resource: catalogARN(c, str(name))}}
	}
	return []call.Operation{
		call.Op("CreateNamedQuery", func(c *call.Call, in *sdk.CreateNamedQueryInput) ([]call.Permission, error) {
			return onWorkGroup(c, "CreateNamedQuery", in.WorkGroup), nil
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
			return onWorkGroup(c, "ListNamedQueries", in.WorkGroup), nil
		}, s.listNamed, call.ReadOnly),
		call.Op("UpdateNamedQuery", func(c *call.Call, in *sdk.UpdateNamedQueryInput) ([]call.Permission, error) {
			return s.onNamed(c, "UpdateNamedQuery", in.NamedQueryId), nil
		}, s.updateNamed, call.Omit("QueryString")),
		call.Op("DeleteNamedQuery", func(c *call.Call, in *sdk.DeleteNamedQueryInput) ([]call.Permission, error) {
			return s.onNamed(c, "DeleteNamedQuery", in.NamedQueryId), nil
		}, s.deleteNamed),
		call.Op("GetWorkGroup", func(c *call.Call, in *sdk.GetWorkGroupInput) ([]call.Permission, error) {
			return onWorkGroup(c, "GetWorkGroup", in.WorkGroup), nil
		}, s.getWorkGroup, call.ReadOnly),
		call.Op("ListWorkGroups", func(*call.Call, *sdk.ListWorkGroupsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "athena:ListWorkGroups", Resource: "*"}}, nil
		}, s.listWorkGroups, call.ReadOnly),
		call.Op("CreateWorkGroup", func(c *call.Call, in *sdk.CreateWorkGroupInput) ([]call.Permission, error) {
			return onWorkGroup(c, "CreateWorkGroup", in.Name), nil
		}, s.createWorkGroup),
		call.Op("DeleteWorkGroup", func(c *call.Call, in *sdk.DeleteWorkGroupInput) ([]call.Permission, error) {
			return onWorkGroup(c, "DeleteWorkGroup", in.WorkGroup), nil
		}, s.deleteWorkGroup),
		call.Op("ListEngineVersions", func(*call.Call, *sdk.ListEngineVersionsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "athena:ListEngineVersions", Resource: "*"}}, nil
		}, s.listEngineVersions, call.ReadOnly),
		call.Op("GetDataCatalog", func(c *call.Call, in *sdk.GetDataCatalogInput) ([]call.Permission, error) {
			return onCatalog(c, "GetDataCatalog", in.Name), nil
		}, s.getDataCatalog, call.ReadOnly),
		call.Op("ListDataCatalogs", func(*call.Call, *sdk.ListDataCatalogsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "athena:ListDataCatalogs", Resource: "*"}}, nil
		}, s.listDataCatalogs, call.ReadOnly),
		call.Op("GetDatabase", func(c *call.Call, in *sdk.GetDatabaseInput) ([]call.Permission, error) {
			return onCatalog(c, "GetDatabase", in.CatalogName), nil
		}, s.getDatabase, call.ReadOnly),
		call.Op("ListDatabases", func(c *call.Call, in *sdk.ListDatabasesInput) ([]call.Permission, error) {
			return onCatalog(c, "ListDatabases", in.CatalogName), nil
		}, s.listDatabases, call.ReadOnly),
		call.Op("GetTableMetadata", func(c *call.Call, in *sdk.GetTableMetadataInput) ([]call.Permission, error) {
			return onCatalog(c, "GetTableMetadata", in.CatalogName), nil
		}, s.getTableMetadata, call.ReadOnly),
		call.Op("ListTableMetadata", func(c *call.Call, in *sdk.ListTableMetadataInput) ([]call.Permission, error) {
			return onCatalog(c, "ListTableMetadata", in.CatalogName), nil
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
	return onWorkGroup(c, op, &group)
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

// workGroup is a work group and its configuration.
type workGroup struct {
	Name, Description string
	Configuration     *types.WorkGroupConfiguration
	Created           time.Time
}

func (w *workGroup) enforced() bool {
	return w.Configuration != nil && w.Configuration.EnforceWorkGroupConfiguration != nil && *w.Configuration.EnforceWorkGroupConfiguration && w.output() != ""
}

func (w *workGroup) output() string {
	if w.Configuration == nil || w.Configuration.ResultConfiguration == nil {
		return ""
	}
	return str(w.Configuration.ResultConfiguration.OutputLocation)
}

// workGroup finds a work group; primary is always there.
func (s *Service) workGroup(c *call.Call, name string) (*workGroup, error) {
	w, err := load[workGroup](s, key(c, "work-group", name))
	if errors.Is(err, kv.ErrNotFound) {
		if name == primary {
			return &workGroup{Name: primary, Configuration: &types.WorkGroupConfiguration{EnforceWorkGroupConfiguration: new(false), PublishCloudWatchMetricsEnabled: new(false), RequesterPaysEnabled: new(false),
				ResultConfiguration: &types.ResultConfiguration{}, EngineVersion: autoEngine()}}, nil
		}
		return nil, invalid(invalidInput, "WorkGroup is not found.")
	}
	return w, err
}

func autoEngine() *types.EngineVersion {
	return &types.EngineVersion{SelectedEngineVersion: new("AUTO"), EffectiveEngineVersion: new(engineVersion)}
}

func (s *Service) getWorkGroup(_ context.Context, c *call.Call, in *sdk.GetWorkGroupInput) (*sdk.GetWorkGroupOutput, error) {
	w, err := s.workGroup(c, str(in.WorkGroup))
	if err != nil {
		return nil, err
	}
	out := &types.WorkGroup{Name: &w.Name, Description: optional(w.Description), State: types.WorkGroupStateEnabled, Configuration: w.Configuration}
	if !w.Created.IsZero() {
		out.CreationTime = &w.Created
	}
	return &sdk.GetWorkGroupOutput{WorkGroup: out}, nil
}

func (s *Service) listWorkGroups(_ context.Context, c *call.Call, in *sdk.ListWorkGroupsInput) (*sdk.ListWorkGroupsOutput, error) {
	p, err := s.workGroup(c, primary)
	if err != nil {
		return nil, err
	}
	all := []*workGroup{p}
	err = s.cfg.Store.Scan(key(c, "work-group"), func(_, v []byte) (bool, error) {
		w := new(workGroup)
		err := json.Unmarshal(v, w)
		if w.Name != primary {
			all = append(all, w)
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	part, next, err := pageOf(all, in.NextToken, pageSize(in.MaxResults, maxBatch), func(w *workGroup) string { return w.Name })
	out := &sdk.ListWorkGroupsOutput{WorkGroups: []types.WorkGroupSummary{}, NextToken: next}
	for _, w := range part {
		sum := types.WorkGroupSummary{Name: &w.Name, Description: optional(w.Description), State: types.WorkGroupStateEnabled, EngineVersion: autoEngine()}
		if !w.Created.IsZero() {
			sum.CreationTime = &w.Created
		}
		out.WorkGroups = append(out.WorkGroups, sum)
	}
	return out, err
}

func (s *Service) createWorkGroup(_ context.Context, c *call.Call, in *sdk.CreateWorkGroupInput) (*sdk.CreateWorkGroupOutput, error) {
	c.Tx.Lock(&s.writing)
	if _, err := s.workGroup(c, str(in.Name)); err == nil {
		return nil, invalid(invalidInput, "WorkGroup already exists")
	}
	if len(in.Tags) > 0 {
		return nil, invalid(invalidInput, "Tags of work groups are not offered by this server.")
	}
	w := &workGroup{Name: str(in.Name), Description: str(in.Description), Configuration: in.Configuration, Created: s.cfg.Now()}
	if w.Configuration == nil {
		w.Configuration = &types.WorkGroupConfiguration{}
	}
	w.Configuration.EngineVersion = autoEngine()
	c.Tx.Set(key(c, "work-group", w.Name), encode(w))
	return &sdk.CreateWorkGroupOutput{}, nil
}

func (s *Service) deleteWorkGroup(_ context.Context, c *call.Call, in *sdk.DeleteWorkGroupInput) (*sdk.DeleteWorkGroupOutput, error) {
	if str(in.WorkGroup) == primary {
		return nil, invalid(invalidInput, "WorkGroup primary cannot be deleted.")
	}
	c.Tx.Lock(&s.writing)
	if _, err := s.workGroup(c, str(in.WorkGroup)); err != nil {
		return nil, err
	}
	c.Tx.Delete(key(c, "work-group", str(in.WorkGroup)))
	return &sdk.DeleteWorkGroupOutput{}, nil
}

func (s *Service) listEngineVersions(context.Context, *call.Call, *sdk.ListEngineVersionsInput) (*sdk.ListEngineVersionsOutput, error) {
	return &sdk.ListEngineVersionsOutput{EngineVersions: []types.EngineVersion{*autoEngine(), {SelectedEngineVersion: new(engineVersion), EffectiveEngineVersion: new(engineVersion)}}}, nil
}

const catalogName = "AwsDataCatalog"

func checkCatalog(name *string) error {
	if !strings.EqualFold(str(name), catalogName) {
		return invalid(invalidInput, "DataCatalog %s was not found", str(name))
	}
	return nil
}

func (s *Service) getDataCatalog(_ context.Context, c *call.Call, in *sdk.GetDataCatalogInput) (*sdk.GetDataCatalogOutput, error) {
	if err := checkCatalog(in.Name); err != nil {
		return nil, err
	}
	return &sdk.GetDataCatalogOutput{DataCatalog: &types.DataCatalog{Name: new(catalogName), Type: types.DataCatalogTypeGlue, Parameters: map[string]string{"catalog-id": c.AccountID}}}, nil
}

func (s *Service) listDataCatalogs(context.Context, *call.Call, *sdk.ListDataCatalogsInput) (*sdk.ListDataCatalogsOutput, error) {
	return &sdk.ListDataCatalogsOutput{DataCatalogsSummary: []types.DataCatalogSummary{{CatalogName: new(catalogName), Type: types.DataCatalogTypeGlue}}}, nil
}

func metadataError(format string, args ...any) error {
	return &aws.Error{Op: "athena", Kind: aws.NotFound, Status: 400, Code: "MetadataException", Message: fmt.Sprintf(format, args...)}
}

func scope(c *call.Call) glue.Scope { return glue.Scope{Account: c.AccountID, Region: c.Region} }

func sdkDatabase(d glue.Database) types.Database {
	return types.Database{Name: &d.Name, Description: optional(d.Description), Parameters: d.Parameters}
}

func (s *Service) getDatabase(_ context.Context, c *call.Call, in *sdk.GetDatabaseInput) (*sdk.GetDatabaseOutput, error) {
	if err := checkCatalog(in.CatalogName); err != nil {
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
	if err := checkCatalog(in.CatalogName); err != nil {
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
	if err := checkCatalog(in.CatalogName); err != nil {
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
	if err := checkCatalog(in.CatalogName); err != nil {
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
