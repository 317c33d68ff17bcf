package cloudtrail

import (
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
	"spoor/internal/record"
)

func (s *api) policyOperations() []call.Operation {
	return []call.Operation{
		call.Op("PutResourcePolicy", func(c *call.Call, in *sdk.PutResourcePolicyInput) ([]call.Permission, error) {
			p, err := s.heldPermission(c, "PutResourcePolicy", str(in.ResourceArn))
			return []call.Permission{p}, err
		}, handle(s.putPolicy), heldResource(func(in *sdk.PutResourcePolicyInput) *string { return in.ResourceArn })),
		call.Op("GetResourcePolicy", func(c *call.Call, in *sdk.GetResourcePolicyInput) ([]call.Permission, error) {
			p, err := s.heldPermission(c, "GetResourcePolicy", str(in.ResourceArn))
			return []call.Permission{p}, err
		}, handle(s.getPolicy), call.ReadOnly),
		call.Op("DeleteResourcePolicy", func(c *call.Call, in *sdk.DeleteResourcePolicyInput) ([]call.Permission, error) {
			p, err := s.heldPermission(c, "DeleteResourcePolicy", str(in.ResourceArn))
			return []call.Permission{p}, err
		}, handle(s.deletePolicy), heldResource(func(in *sdk.DeleteResourcePolicyInput) *string { return in.ResourceArn })),
	}
}

// heldResource puts a resource of any kind into the record's resources.
func heldResource[I any](arn func(in *I) *string) func(*call.Operation) {
	return func(o *call.Operation) {
		o.Describe = func(c *call.Call, in, _ any, _ error, r *record.Record) {
			if a := str(arn(in.(*I))); strings.HasPrefix(a, "arn:") {
				r.Resources = append(r.Resources, record.Resource{Type: typeOf(a), ARN: a, AccountID: ownerOf(c, a)})
			}
		}
	}
}

// policyHolder finds a resource that may have a policy.
func (s *api) policyHolder(c *call.Call, arn string, change bool) (*held, error) {
	_, kind := arnKind(arn)
	switch kind {
	case "":
		return nil, invalid("ResourceARNNotValidException", "The resource ARN %s is not valid.", arn)
	case "eventdatastore", "channel", "dashboard":
	default:
		return nil, invalid("ResourceTypeNotSupportedException", "The resource type %s is not supported by this operation.", kind)
	}
	h, err := s.hold(c, arn, change)
	if err != nil && strings.HasSuffix(aws.AsError(err).Code, "ARNInvalidException") {
		err = invalid("ResourceARNNotValidException", "The resource ARN %s is not valid.", arn)
	}
	return h, err
}

func (s *api) putPolicy(c *call.Call, in *sdk.PutResourcePolicyInput) (*sdk.PutResourcePolicyOutput, error) {
	arn := str(in.ResourceArn)
	h, err := s.policyHolder(c, arn, true)
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(str(in.ResourcePolicy), policy.Resource)
	if err != nil {
		return nil, &aws.Error{Op: "cloudtrail.PutResourcePolicy", Kind: aws.Invalid, Code: "ResourcePolicyNotValidException", Err: err,
			Message: "The resource policy is not valid: " + strings.TrimPrefix(err.Error(), policy.ErrMalformed.Error()+": ")}
	}
	if !p.OnlyResources(func(x string) bool { return x == arn }) {
		return nil, invalid("ResourcePolicyNotValidException", "The resource policy is not valid: each statement's resource must be %s.", arn)
	}
	h.policy = str(in.ResourcePolicy)
	return &sdk.PutResourcePolicyOutput{ResourceArn: &arn, ResourcePolicy: &h.policy}, h.save(h)
}

func noPolicy(arn string) error {
	return &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "ResourcePolicyNotFoundException", Message: "The resource " + arn + " has no resource policy."}
}

func (s *api) getPolicy(c *call.Call, in *sdk.GetResourcePolicyInput) (*sdk.GetResourcePolicyOutput, error) {
	h, err := s.policyHolder(c, str(in.ResourceArn), false)
	if err == nil && h.policy == "" {
		err = noPolicy(*in.ResourceArn)
	}
	if err != nil {
		return nil, err
	}
	return &sdk.GetResourcePolicyOutput{ResourceArn: in.ResourceArn, ResourcePolicy: &h.policy}, nil
}

func (s *api) deletePolicy(c *call.Call, in *sdk.DeleteResourcePolicyInput) (*sdk.DeleteResourcePolicyOutput, error) {
	h, err := s.policyHolder(c, str(in.ResourceArn), true)
	if err == nil && h.policy == "" {
		err = noPolicy(*in.ResourceArn)
	}
	if err != nil {
		return nil, err
	}
	h.policy = ""
	return &sdk.DeleteResourcePolicyOutput{}, h.save(h)
}
