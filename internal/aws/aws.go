// Package aws is the vocabulary that every other package shares: ARNs, the
// caller of a call, and the one error type that a client ever sees.
//
// It stands at the bottom of the import graph and knows no protocol, store or
// service. Decoding a call ends in its types and encoding an answer starts
// from them.
package aws

import (
	"fmt"
	"strings"
)

// Partition is the only AWS partition this server answers for.
const Partition = "aws"

// GlobalRegion is where AWS records the calls of services that have no region
// of their own (IAM, and STS at its global endpoint).
const GlobalRegion = "us-east-1"

// ARN is an Amazon Resource Name, split at its first five colons
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html).
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// String gives the ARN's text form.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// ParseARN splits s. It fails when s has fewer than six parts, another scheme
// than "arn", or an empty service or resource.
func ParseARN(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] == "" || p[5] == "" {
		return ARN{}, fmt.Errorf("%q is not an ARN", s)
	}
	return ARN{Partition: p[1], Service: p[2], Region: p[3], Account: p[4], Resource: p[5]}, nil
}

// NewARN makes an ARN in this server's partition.
func NewARN(service, region, account, resource string) ARN {
	return ARN{Partition: Partition, Service: service, Region: region, Account: account, Resource: resource}
}
