// Package plugin reads alerts that come over whatever transport a source names.
package plugin

import "watchkeeper"

type plugin struct{}

func init() { watchkeeper.Register(&plugin{}) }

func (*plugin) Parse(payload watchkeeper.Payload) ([]watchkeeper.Alert, error) {
	alerts, err := readAlerts(payload)
	watchkeeper.Log(watchkeeper.LevelInfo, "%d alerts", len(alerts))
	return alerts, err
}
