"""What an operator watches the fleet with: rules and alerts, dashboards, a runbook."""
