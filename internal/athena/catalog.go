package athena

import (
	"context"
	"encoding/json"
	"errors"
	"sort"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/kv"
)

// catalogName is the catalogue that every account has.
const catalogName = "AwsDataCatalog"

// catalogID is the parameter of a GLUE catalogue that names its account.
const catalogID = "catalog-id"

// dataCatalog is a registered catalogue: another name for the account's own.
type dataCatalog struct {
	Name, Description string
	Parameters        map[string]string
	Tags              []types.Tag
}

func (d *dataCatalog) sdk() *types.DataCatalog {
	return &types.DataCatalog{Name: &d.Name, Description: optional(d.Description), Type: types.DataCatalogTypeGlue, Parameters: d.Parameters, Status: types.DataCatalogStatusCreateComplete}
}

func catalogARN(c *call.Call, name string) string {
	return aws.NewARN("athena", c.Region, c.AccountID, "datacatalog/"+name).String()
}

func (s *Service) onCatalog(c *call.Call, op string, name *string) []call.Permission {
	p := call.Permission{Action: "athena:" + op, Resource: catalogARN(c, str(name))}
	if d, err := s.dataCatalog(c, str(name)); err == nil {
		p.Context = resourceTags(d.Tags)
	}
	return []call.Permission{p}
}

func (s *Service) catalogOperations() []call.Operation {
	return []call.Operation{
		call.Op("GetDataCatalog", func(c *call.Call, in *sdk.GetDataCatalogInput) ([]call.Permission, error) {
			return s.onCatalog(c, "GetDataCatalog", in.Name), nil
		}, s.getDataCatalog, call.ReadOnly),
		call.Op("ListDataCatalogs", func(*call.Call, *sdk.ListDataCatalogsInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "athena:ListDataCatalogs", Resource: "*"}}, nil
		}, s.listDataCatalogs, call.ReadOnly),
		call.Op("CreateDataCatalog", func(c *call.Call, in *sdk.CreateDataCatalogInput) ([]call.Permission, error) {
			return creating("CreateDataCatalog", catalogARN(c, str(in.Name)), in.Tags), nil
		}, s.createDataCatalog, call.Partial("type GLUE of the own account only")),
		call.Op("UpdateDataCatalog", func(c *call.Call, in *sdk.UpdateDataCatalogInput) ([]call.Permission, error) {
			return s.onCatalog(c, "UpdateDataCatalog", in.Name), nil
		}, s.updateDataCatalog),
		call.Op("DeleteDataCatalog", func(c *call.Call, in *sdk.DeleteDataCatalogInput) ([]call.Permission, error) {
			return s.onCatalog(c, "DeleteDataCatalog", in.Name), nil
		}, s.deleteDataCatalog),
	}
}

// dataCatalog finds a catalogue by its name, in any case.
func (s *Service) dataCatalog(c *call.Call, name string) (*dataCatalog, error) {
	if strings.EqualFold(name, catalogName) {
		return &dataCatalog{Name: catalogName, Parameters: map[string]string{catalogID: c.AccountID}}, nil
	}
	d, err := load[dataCatalog](s, key(c, "catalog", strings.ToLower(name)))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, invalid(invalidInput, "DataCatalog %s was not found", name)
	}
	return d, err
}

func (s *Service) checkCatalog(c *call.Call, name *string) error {
	_, err := s.dataCatalog(c, str(name))
	return err
}

func (s *Service) getDataCatalog(_ context.Context, c *call.Call, in *sdk.GetDataCatalogInput) (*sdk.GetDataCatalogOutput, error) {
	d, err := s.dataCatalog(c, str(in.Name))
	if err != nil {
		return nil, err
	}
	return &sdk.GetDataCatalogOutput{DataCatalog: d.sdk()}, nil
}

func (s *Service) listDataCatalogs(_ context.Context, c *call.Call, in *sdk.ListDataCatalogsInput) (*sdk.ListDataCatalogsOutput, error) {
	names := []string{catalogName}
	err := s.cfg.Store.Scan(key(c, "catalog"), func(_, v []byte) (bool, error) {
		var d dataCatalog
		err := json.Unmarshal(v, &d)
		names = append(names, d.Name)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	part, next, err := pageOf(names, in.NextToken, pageSize(in.MaxResults, maxBatch), func(n string) string { return n })
	out := &sdk.ListDataCatalogsOutput{DataCatalogsSummary: []types.DataCatalogSummary{}, NextToken: next}
	for _, n := range part {
		out.DataCatalogsSummary = append(out.DataCatalogsSummary, types.DataCatalogSummary{CatalogName: &n, Type: types.DataCatalogTypeGlue, Status: types.DataCatalogStatusCreateComplete})
	}
	return out, err
}

// checkParameters holds a catalogue to what can be reached: the account's own
// Glue catalogue. There are no Lambda functions to ask for others.
func checkParameters(c *call.Call, kind types.DataCatalogType, parameters map[string]string) error {
	if kind != types.DataCatalogTypeGlue {
		return notOffered("A data catalog of type " + string(kind))
	}
	if len(parameters) != 1 || parameters[catalogID] == "" {
		return invalid(invalidInput, "The data catalog parameters of type GLUE must have exactly the key %s", catalogID)
	}
	if parameters[catalogID] != c.AccountID {
		return notOffered("The AWS Glue catalog of another account")
	}
	return nil
}

func (s *Service) createDataCatalog(_ context.Context, c *call.Call, in *sdk.CreateDataCatalogInput) (*sdk.CreateDataCatalogOutput, error) {
	c.Tx.Lock(&s.writing)
	if s.checkCatalog(c, in.Name) == nil {
		return nil, invalid(invalidInput, "DataCatalog %s already exists", str(in.Name))
	}
	if err := checkParameters(c, in.Type, in.Parameters); err != nil {
		return nil, err
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	d := &dataCatalog{Name: str(in.Name), Description: str(in.Description), Parameters: in.Parameters, Tags: tags}
	c.Tx.Set(key(c, "catalog", strings.ToLower(d.Name)), encode(d))
	return &sdk.CreateDataCatalogOutput{DataCatalog: d.sdk()}, nil
}

// registered finds a catalogue that may be changed.
func (s *Service) registered(c *call.Call, name *string) (*dataCatalog, error) {
	if strings.EqualFold(str(name), catalogName) {
		return nil, invalid(invalidInput, "DataCatalog %s cannot be changed", catalogName)
	}
	return s.dataCatalog(c, str(name))
}

func (s *Service) updateDataCatalog(_ context.Context, c *call.Call, in *sdk.UpdateDataCatalogInput) (*sdk.UpdateDataCatalogOutput, error) {
	c.Tx.Lock(&s.writing)
	d, err := s.registered(c, in.Name)
	if err != nil {
		return nil, err
	}
	parameters := in.Parameters
	if parameters == nil {
		parameters = d.Parameters
	}
	if err := checkParameters(c, in.Type, parameters); err != nil {
		return nil, err
	}
	d.Description, d.Parameters = str(in.Description), parameters
	c.Tx.Set(key(c, "catalog", strings.ToLower(d.Name)), encode(d))
	return &sdk.UpdateDataCatalogOutput{}, nil
}

func (s *Service) deleteDataCatalog(_ context.Context, c *call.Call, in *sdk.DeleteDataCatalogInput) (*sdk.DeleteDataCatalogOutput, error) {
	c.Tx.Lock(&s.writing)
	d, err := s.registered(c, in.Name)
	if err != nil {
		return nil, err
	}
	c.Tx.Delete(key(c, "catalog", strings.ToLower(d.Name)))
	out := d.sdk()
	out.Status = types.DataCatalogStatusDeleteComplete
	return &sdk.DeleteDataCatalogOutput{DataCatalog: out}, nil
}
