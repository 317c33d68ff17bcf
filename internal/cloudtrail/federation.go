package cloudtrail

import (
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/glue"
	"spoor/internal/lake"
	"spoor/internal/trail"
)

// A federated event data store is a table of the data catalogue that Athena
// reads (CloudTrail user guide, "Federate an event data store"): its id in the
// database aws:cloudtrail. There is no Lake Formation here to hand out the
// federation role's rights: who queries the table needs
// cloudtrail:GetEventDataStoreData on the store as well as Glue's rights.

func (s *api) federationPermissions(c *call.Call, in *sdk.EnableFederationInput) ([]call.Permission, error) {
	id := str(in.EventDataStore)
	return []call.Permission{s.storePermission(c, "EnableFederation", id),
		{Action: "iam:PassRole", Resource: str(in.FederationRoleArn), Context: map[string][]string{"iam:passedtoservice": {"cloudtrail.amazonaws.com"}}},
		{Action: "glue:CreateDatabase", Resource: aws.NewARN("glue", c.Region, c.AccountID, "database/"+glue.FederatedDatabase).String()},
		federatedTable(c, "CreateTable", id)}, nil
}

// federatedTable is the permission on the table that a store is in the catalogue.
func federatedTable(c *call.Call, op, id string) call.Permission {
	name := id[strings.LastIndexByte(id, '/')+1:]
	return call.Permission{Action: "glue:" + op, Resource: aws.NewARN("glue", c.Region, c.AccountID, "table/"+glue.FederatedDatabase+"/"+name).String()}
}

func (s *api) enableFederation(c *call.Call, in *sdk.EnableFederationInput) (*sdk.EnableFederationOutput, error) {
	role, err := aws.ParseARN(str(in.FederationRoleArn))
	if err != nil || role.Service != "iam" || !strings.HasPrefix(role.Resource, "role/") || role.Account != c.AccountID {
		return nil, invalid("InvalidParameterException", "The federation role %s is not the ARN of a role of this account.", str(in.FederationRoleArn))
	}
	st, err := s.changeStore(c, str(in.EventDataStore), s.ownStore, func(st *lake.Store) error {
		if st.FederationRole != "" {
			return federated(st)
		}
		trusted, err := s.trails.MayAssume(*in.FederationRoleArn, st.ARN(), c.AccountID)
		if err == nil && !trusted {
			err = invalid("InvalidParameterException", "The federation role %s must exist and its trust policy let cloudtrail.amazonaws.com do sts:AssumeRole.", *in.FederationRoleArn)
		}
		if err == nil {
			err = s.mayServe(*in.FederationRoleArn, st)
		}
		if err != nil {
			return err
		}
		st.FederationRole = *in.FederationRoleArn
		return s.putFederated(c, st)
	})
	if err != nil {
		return nil, err
	}
	return &sdk.EnableFederationOutput{EventDataStoreArn: new(st.ARN()), FederationStatus: types.FederationStatusEnabled, FederationRoleArn: &st.FederationRole}, nil
}

// mayServe reports whether a federation role has the permission that AWS asks
// of one: to read the store's events (CloudTrail user guide, "Required
// permissions for federation"). Who queries the table does so with it.
func (s *api) mayServe(role string, st *lake.Store) error {
	const action = "cloudtrail:GetEventDataStoreData"
	may, err := s.trails.RoleMay(role, trail.RoleUse{Action: action, Resource: st.ARN(), SourceARN: st.ARN(), Account: st.Account, Owner: st.Account, Document: st.Policy})
	if err == nil && !may {
		err = &aws.Error{Op: "cloudtrail.EnableFederation", Kind: aws.Denied, Code: "AccessDeniedException",
			Message: "The federation role " + role + " is not authorized to perform: " + action + " on resource: " + st.ARN()}
	}
	return err
}

// putFederated writes a store's table into the data catalogue.
func (s *api) putFederated(c *call.Call, st *lake.Store) error {
	scope := glue.Scope{Account: st.Account, Region: st.Region}
	t := glue.Table{Database: glue.FederatedDatabase, Name: st.ID, Description: st.Name, Created: st.Updated,
		Parameters: map[string]string{"eventDataStoreArn": st.ARN(), "federationRoleArn": st.FederationRole}}
	for _, col := range st.Columns() {
		t.Columns = append(t.Columns, glue.Column{Name: col.Name, Type: col.Hive})
	}
	if err := s.catalog.PutDatabase(c.Tx.Batch(), scope, glue.Database{Name: glue.FederatedDatabase, Description: "Event data stores of CloudTrail Lake", Created: st.Updated}); err != nil {
		return err
	}
	return s.catalog.PutTable(c.Tx.Batch(), scope, t)
}

// ownStore is activeStore for what only the store's own account may do.
func (s *api) ownStore(c *call.Call, id string) (*lake.Store, error) {
	st, err := s.activeStore(c, id)
	if err == nil && st.Account != c.AccountID {
		err = &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "EventDataStoreNotFoundException", Message: "The specified event data store " + id + " was not found."}
	}
	return st, err
}

func federated(st *lake.Store) error {
	return invalid("EventDataStoreFederationEnabledException", "You cannot perform the operation because Lake query federation is enabled for the event data store %s. Disable federation, and then try again.", st.ARN())
}

func (s *api) disableFederation(c *call.Call, in *sdk.DisableFederationInput) (*sdk.DisableFederationOutput, error) {
	st, err := s.changeStore(c, str(in.EventDataStore), s.ownStore, func(st *lake.Store) error {
		if st.FederationRole != "" {
			s.catalog.DropTable(c.Tx.Batch(), glue.Scope{Account: st.Account, Region: st.Region}, glue.FederatedDatabase, st.ID)
		}
		st.FederationRole = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.DisableFederationOutput{EventDataStoreArn: new(st.ARN()), FederationStatus: types.FederationStatusDisabled}, nil
}

func federationStatus(st *lake.Store) (types.FederationStatus, *string) {
	if st.FederationRole == "" {
		return types.FederationStatusDisabled, nil
	}
	return types.FederationStatusEnabled, &st.FederationRole
}
