package cloudtrail

import (
	"context"
	"errors"
	"net/url"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/trail"
)

func (s *api) importOperations() []call.Operation {
	return []call.Operation{
		call.Op("StartImport", s.importPermissions, s.startImport),
		call.Op("GetImport", onAll[sdk.GetImportInput]("GetImport"), handle(s.getImport), call.ReadOnly),
		call.Op("StopImport", onAll[sdk.StopImportInput]("StopImport"), handle(s.stopImport)),
		call.Op("ListImports", onAll[sdk.ListImportsInput]("ListImports"), handle(s.listImports), call.ReadOnly),
		call.Op("ListImportFailures", onAll[sdk.ListImportFailuresInput]("ListImportFailures"), handle(s.listImportFailures), call.ReadOnly),
	}
}

// importPermissions: who imports needs the store, the bucket that is read and
// the right to hand over the role.
func (s *api) importPermissions(c *call.Call, in *sdk.StartImportInput) ([]call.Permission, error) {
	out := []call.Permission{{Action: "cloudtrail:StartImport", Resource: "*"}}
	if in.ImportId != nil {
		// The caller may be another one than began, and the bucket's name another's.
		i, err := s.lake.Import(c.AccountID, c.Region, *in.ImportId)
		if err != nil || i == nil {
			return out, err
		}
		return s.readPermissions(append(out, s.storePermission(c, "StartImport", i.Store)), c, i.Bucket, i.Prefix), nil
	}
	for _, d := range in.Destinations {
		out = append(out, s.storePermission(c, "StartImport", d))
	}
	if in.ImportSource == nil || in.ImportSource.S3 == nil {
		return out, nil
	}
	bucket, prefix, err := parseLocation(str(in.ImportSource.S3.S3LocationUri))
	if err != nil {
		return out, nil // the handler says so
	}
	return s.readPermissions(append(out, call.Permission{Action: "iam:PassRole", Resource: str(in.ImportSource.S3.S3BucketAccessRoleArn),
		Context: map[string][]string{"iam:passedtoservice": {trail.ServicePrincipal}}}), c, bucket, prefix), nil
}

// readPermissions adds what reading a bucket's objects under a prefix needs,
// under the policy of the bucket, which may be another account's.
func (s *api) readPermissions(perms []call.Permission, c *call.Call, bucket, prefix string) []call.Permission {
	list := call.Permission{Action: "s3:ListBucket", Resource: "arn:aws:s3:::" + bucket, ResourcePolicy: s.buckets.PolicyFor(bucket, c.Caller),
		ResourceAccount: s.buckets.Account(bucket), Context: map[string][]string{"s3:prefix": {prefix}}}
	get := list
	get.Action, get.Resource, get.Context = "s3:GetObject", list.Resource+"/"+prefix+"*", nil
	return append(perms, list, get)
}

func badSource(format string, args ...any) error {
	return invalid("InvalidImportSourceException", format, args...)
}

// parseLocation takes the URI of an import's source apart: s3://bucket/prefix,
// or the https form that AWS's console makes.
func parseLocation(uri string) (bucket, prefix string, err error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", "", badSource("The S3 location %s is not valid.", uri)
	}
	path := strings.TrimPrefix(u.Path, "/")
	switch {
	case u.Scheme == "s3":
		bucket, prefix = u.Host, path
	case u.Scheme == "https" && strings.HasPrefix(u.Host, "s3.") && strings.HasSuffix(u.Host, ".amazonaws.com"):
		bucket, prefix, _ = strings.Cut(path, "/")
	}
	if checkBucketName(bucket) != nil {
		return "", "", badSource("The S3 location %s is not valid.", uri)
	}
	return bucket, prefix, nil
}

func (s *api) startImport(ctx context.Context, c *call.Call, in *sdk.StartImportInput) (*sdk.StartImportOutput, error) {
	if in.ImportId != nil {
		return s.resumeImport(ctx, c, in)
	}
	if len(in.Destinations) == 0 || in.ImportSource == nil {
		return nil, invalid("InvalidParameterException", "Destinations and ImportSource are required to start a new import.")
	}
	if in.StartEventTime != nil && in.EndEventTime != nil && in.StartEventTime.After(*in.EndEventTime) {
		return nil, invalid("InvalidParameterException", "StartEventTime must be before EndEventTime.")
	}
	src := in.ImportSource.S3
	i := &lake.Import{ID: call.NewID(), Account: c.AccountID, Region: c.Region, URI: str(src.S3LocationUri), BucketIn: str(src.S3BucketRegion),
		Role: str(src.S3BucketAccessRoleArn), Status: lake.ImportStarting, Created: s.lake.Now(), Updated: s.lake.Now()}
	var err error
	if i.Bucket, i.Prefix, err = parseLocation(i.URI); err != nil {
		return nil, err
	}
	role, err := aws.ParseARN(i.Role)
	if err != nil || role.Service != "iam" || !strings.HasPrefix(role.Resource, "role/") || role.Account != c.AccountID {
		return nil, badSource("The access role %s is not the ARN of a role of this account.", i.Role)
	}
	document, owner, err := s.bucket.Policy(ctx, i.Bucket)
	if err != nil {
		return nil, sourceFault(i, err)
	}
	if in.StartEventTime != nil {
		i.From = *in.StartEventTime
	}
	if in.EndEventTime != nil {
		i.To = *in.EndEventTime
	}
	s.lake.Lock(c)
	st, err := s.importDestination(c, in.Destinations[0])
	if err != nil {
		return nil, err
	}
	i.Store, i.StoreID = st.ARN(), st.ID
	i.StartedBy(c)
	if err := s.mayImport(i, document, owner); err != nil {
		return nil, err
	}
	if err := s.noOtherImport(c); err != nil {
		return nil, err
	}
	s.lake.PutImport(c, i)
	return startedImport(i), nil
}

func sourceFault(i *lake.Import, err error) error {
	if errors.Is(err, trail.ErrNoSuchBucket) {
		return badSource("The S3 bucket %s does not exist.", i.Bucket)
	}
	return err
}

// mayImport reports whether CloudTrail may assume an import's role and read the
// source with it: what AWS asks of the role (CloudTrail user guide, "Required
// permissions for copying trail events", "IAM permissions for copying trail
// events").
func (s *api) mayImport(i *lake.Import, document, owner string) error {
	trusted, err := s.trails.MayAssume(i.Role, i.Store, i.Account)
	if err == nil && !trusted {
		err = badSource("The access role %s must exist and its trust policy let %s do sts:AssumeRole.", i.Role, trail.ServicePrincipal)
	}
	if err != nil {
		return err
	}
	bucket := "arn:aws:s3:::" + i.Bucket
	for _, need := range [][2]string{{"s3:ListBucket", bucket}, {"s3:GetBucketAcl", bucket}, {"s3:GetObject", bucket + "/" + i.Prefix + "*"}} {
		may, err := s.trails.RoleMay(i.Role, trail.RoleUse{Action: need[0], Resource: need[1], SourceARN: i.Store, Account: i.Account, Owner: owner, Document: document})
		if err == nil && !may {
			err = badSource("Access denied. Check the permissions for your role. The access role %s needs %s on %s.", i.Role, need[0], need[1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// importDestination checks the store that an import fills: one of CloudTrail
// events (API reference, "StartImport").
func (s *api) importDestination(c *call.Call, id string) (*lake.Store, error) {
	st, err := s.activeStore(c, id)
	if err != nil {
		return nil, err
	}
	if class(st) != classOf(nil) {
		return nil, invalid("InvalidEventDataStoreCategoryException", "The event data store %s does not log CloudTrail events.", st.ARN())
	}
	return st, nil
}

func (s *api) noOtherImport(c *call.Call) error {
	all, err := s.lake.Imports(c.AccountID, c.Region)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Going() {
			return invalid("AccountHasOngoingImportException", "The import %s is still in progress.", o.ID)
		}
	}
	return nil
}

// resumeImport starts an import again that was stopped or failed: it goes on
// behind the last file that it took.
func (s *api) resumeImport(ctx context.Context, c *call.Call, in *sdk.StartImportInput) (*sdk.StartImportOutput, error) {
	if len(in.Destinations) > 0 || in.ImportSource != nil || in.StartEventTime != nil || in.EndEventTime != nil {
		return nil, invalid("InvalidParameterException", "ImportId cannot be given together with other parameters.")
	}
	s.lake.Lock(c)
	i, err := s.findImport(c, *in.ImportId)
	if err != nil {
		return nil, err
	}
	if i.Status == lake.ImportDone {
		return nil, invalid("InvalidParameterException", "The import %s is complete.", i.ID)
	}
	if err := s.noOtherImport(c); err != nil {
		return nil, err
	}
	if _, err := s.importDestination(c, i.Store); err != nil {
		return nil, err
	}
	document, owner, err := s.bucket.Policy(ctx, i.Bucket)
	if err != nil {
		return nil, sourceFault(i, err)
	}
	if err := s.mayImport(i, document, owner); err != nil {
		return nil, err
	}
	i.Status, i.Updated = lake.ImportStarting, s.lake.Now()
	i.StartedBy(c)
	s.lake.PutImport(c, i)
	return startedImport(i), nil
}

func (s *api) findImport(c *call.Call, id string) (*lake.Import, error) {
	i, err := s.lake.Import(c.AccountID, c.Region, id)
	if err == nil && i == nil {
		err = &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "ImportNotFoundException", Message: "The import " + id + " was not found."}
	}
	return i, err
}

func sdkSource(i *lake.Import) *types.ImportSource {
	return &types.ImportSource{S3: &types.S3ImportSource{S3LocationUri: &i.URI, S3BucketRegion: &i.BucketIn, S3BucketAccessRoleArn: &i.Role}}
}

func startedImport(i *lake.Import) *sdk.StartImportOutput {
	return &sdk.StartImportOutput{ImportId: &i.ID, Destinations: []string{i.Store}, ImportSource: sdkSource(i), StartEventTime: timeOrNil(i.From),
		EndEventTime: timeOrNil(i.To), ImportStatus: types.ImportStatus(i.Status), CreatedTimestamp: &i.Created, UpdatedTimestamp: &i.Updated}
}

func statistics(i *lake.Import) *types.ImportStatistics {
	return &types.ImportStatistics{PrefixesFound: &i.Prefixes, PrefixesCompleted: &i.Completed, FilesCompleted: &i.Files, EventsCompleted: &i.Events, FailedEntries: &i.Failures}
}

func (s *api) getImport(c *call.Call, in *sdk.GetImportInput) (*sdk.GetImportOutput, error) {
	i, err := s.findImport(c, str(in.ImportId))
	if err != nil {
		return nil, err
	}
	return &sdk.GetImportOutput{ImportId: &i.ID, Destinations: []string{i.Store}, ImportSource: sdkSource(i), StartEventTime: timeOrNil(i.From),
		EndEventTime: timeOrNil(i.To), ImportStatus: types.ImportStatus(i.Status), CreatedTimestamp: &i.Created, UpdatedTimestamp: &i.Updated,
		ImportStatistics: statistics(i)}, nil
}

func (s *api) stopImport(c *call.Call, in *sdk.StopImportInput) (*sdk.StopImportOutput, error) {
	s.lake.Lock(c)
	i, err := s.findImport(c, str(in.ImportId))
	if err != nil {
		return nil, err
	}
	if !i.Going() {
		return nil, invalid("InvalidParameterException", "The import %s is not in progress: its status is %s.", i.ID, i.Status)
	}
	i.Status, i.Updated = lake.ImportStopped, s.lake.Now()
	s.lake.PutImport(c, i)
	return &sdk.StopImportOutput{ImportId: &i.ID, Destinations: []string{i.Store}, ImportSource: sdkSource(i), StartEventTime: timeOrNil(i.From),
		EndEventTime: timeOrNil(i.To), ImportStatus: types.ImportStatus(i.Status), CreatedTimestamp: &i.Created, UpdatedTimestamp: &i.Updated,
		ImportStatistics: statistics(i)}, nil
}

func (s *api) listImports(c *call.Call, in *sdk.ListImportsInput) (*sdk.ListImportsOutput, error) {
	all, err := s.lake.Imports(c.AccountID, c.Region)
	if err != nil {
		return nil, err
	}
	destination := str(in.Destination)
	if destination != "" {
		destination = storeARN(c, destination)
		if id, _, _ := splitARN(destination, "eventdatastore"); !uuid.MatchString(id) {
			return nil, invalid("EventDataStoreARNInvalidException", "The event data store ARN or ID %s is not valid.", str(in.Destination))
		}
	}
	var list []*lake.Import
	for _, i := range all {
		if (destination == "" || i.Store == destination) && (in.ImportStatus == "" || string(in.ImportStatus) == i.Status) {
			list = append(list, i)
		}
	}
	list, next, err := page(list, func(i **lake.Import) string { return (*i).ID }, "ListImports "+string(in.ImportStatus)+destination, str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListImportsOutput{Imports: []types.ImportsListItem{}, NextToken: next}
	for _, i := range list {
		out.Imports = append(out.Imports, types.ImportsListItem{ImportId: &i.ID, ImportStatus: types.ImportStatus(i.Status), Destinations: []string{i.Store},
			CreatedTimestamp: &i.Created, UpdatedTimestamp: &i.Updated})
	}
	return out, nil
}

func (s *api) listImportFailures(c *call.Call, in *sdk.ListImportFailuresInput) (*sdk.ListImportFailuresOutput, error) {
	i, err := s.lake.Import(c.AccountID, c.Region, str(in.ImportId))
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, invalid("InvalidParameterException", "The import %s was not found.", str(in.ImportId))
	}
	all, err := s.lake.ImportFailures(i.ID)
	if err != nil {
		return nil, err
	}
	list, next, err := page(all, func(f *lake.Failure) string { return f.Location }, "ListImportFailures "+i.ID, str(in.NextToken), in.MaxResults, maxListed)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListImportFailuresOutput{Failures: []types.ImportFailureListItem{}, NextToken: next}
	for _, f := range list {
		out.Failures = append(out.Failures, types.ImportFailureListItem{Location: &f.Location, Status: types.ImportFailureStatus(f.Status),
			ErrorType: &f.Type, ErrorMessage: &f.Message, LastUpdatedTime: &f.Time})
	}
	return out, nil
}
