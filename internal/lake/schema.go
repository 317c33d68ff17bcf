package lake

import (
	"spoor/internal/athena/sql"
	"spoor/internal/trail"
)

// hiveColumn is a column of a store with its type in Hive's words.
type hiveColumn struct{ name, typ string }

// eventColumns are the columns of a store of CloudTrail events (CloudTrail
// user guide, "CloudTrail Lake SQL constraints" and "Supported SQL schema for
// event data stores").
var eventColumns = []hiveColumn{
	{"eventversion", "string"},
	{"useridentity", "struct<type:string,principalid:string,arn:string,accountid:string,accesskeyid:string,username:string," +
		"sessioncontext:struct<attributes:struct<creationdate:timestamp,mfaauthenticated:string>," +
		"sessionissuer:struct<type:string,principalid:string,arn:string,accountid:string,username:string>," +
		"webidfederationdata:struct<federatedprovider:string,attributes:map<string,string>>," +
		"sourceidentity:string,ec2roledelivery:string,ec2issuedinvpc:string,assumedroot:string>," +
		"invokedby:string,identityprovider:string,credentialid:string,onbehalfof:struct<userid:string,identitystorearn:string>," +
		"inscopeof:struct<sourcearn:string,sourceaccount:string,issuertype:string,credentialsissuedto:string>>"},
	{"eventtime", "timestamp"}, {"eventsource", "string"}, {"eventname", "string"}, {"awsregion", "string"}, {"sourceipaddress", "string"},
	{"useragent", "string"}, {"errorcode", "string"}, {"errormessage", "string"}, {"requestparameters", "map<string,string>"},
	{"responseelements", "map<string,string>"}, {"additionaleventdata", "map<string,string>"}, {"requestid", "string"}, {"eventid", "string"},
	{"readonly", "boolean"}, {"resources", "array<struct<accountid:string,type:string,arn:string,arnprefix:string>>"}, {"eventtype", "string"},
	{"apiversion", "string"}, {"managementevent", "boolean"}, {"recipientaccountid", "string"}, {"sharedeventid", "string"}, {"annotation", "string"},
	{"vpcendpointid", "string"}, {"vpcendpointaccountid", "string"}, {"serviceeventdetails", "map<string,string>"},
	{"addendum", "struct<reason:string,updatedfields:string,originalrequestid:string,originaleventid:string>"},
	{"edgedevicedetails", "map<string,string>"}, {"insightdetails", "map<string,string>"}, {"eventcategory", "string"},
	{"tlsdetails", "struct<tlsversion:string,ciphersuite:string,clientprovidedhostheader:string,keyexchange:string>"},
	{"sessioncredentialfromconsole", "string"},
	{"eventcontext", "struct<requestcontext:map<string,string>,tagcontext:struct<resourcetags:array<struct<arn:string,tags:map<string,string>>>,principaltags:map<string,string>>>"},
}

// activityColumns are the columns of a store of events from outside of AWS.
var activityColumns = []hiveColumn{
	{"eventversion", "string"}, {"eventcategory", "string"}, {"eventtype", "string"}, {"eventid", "string"}, {"eventtime", "timestamp"},
	{"awsregion", "string"}, {"recipientaccountid", "string"}, {"addendum", "struct<reason:string,updatedfields:string,originaluid:string,originaleventid:string>"},
	{"metadata", "struct<ingestiontime:string,channelarn:string>"},
	{"eventdata", "struct<version:string,useridentity:struct<type:string,principalid:string,details:map<string,string>>,useragent:string," +
		"eventsource:string,eventname:string,eventtime:string,uid:string,requestparameters:map<string,string>,responseelements:map<string,string>," +
		"errorcode:string,errormessage:string,sourceipaddress:string,recipientaccountid:string,additionaleventdata:map<string,string>>"},
}

// wholeEvent is the column that holds an event as it was recorded.
const wholeEvent = "eventjson"

// ofActivity reports whether a store takes events from outside of AWS.
func ofActivity(s *Store) bool { return s.takes("ActivityAuditLog") }

// ofInsights reports whether a store takes Insights events.
func ofInsights(s *Store) bool { return s.takes("Insight") }

// takes reports whether a store's selectors name an event category.
func (s *Store) takes(category string) bool {
	for _, a := range s.Settings.Selectors.Advanced {
		for _, f := range a.Fields {
			if f.Field == trail.FieldCategory && len(f.Equals) == 1 && f.Equals[0] == category {
				return true
			}
		}
	}
	return false
}

// columnsOf are the columns of a store.
func columnsOf(s *Store) []sql.Column {
	list := eventColumns
	switch {
	case ofActivity(s):
		list = activityColumns
	case ofInsights(s):
		list = insightColumns
	}
	out := make([]sql.Column, 0, len(list)+1)
	for _, c := range append(list[:len(list):len(list)], hiveColumn{wholeEvent, "string"}) {
		t, err := sql.ParseHiveType(c.typ)
		if err != nil { // the types are constants above
			panic("lake: " + err.Error())
		}
		out = append(out, sql.Column{Name: c.name, Type: t, Hive: c.typ})
	}
	return out
}
