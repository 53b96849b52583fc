#!/usr/bin/env python3
"""Forecasts next month's revenue: the mean of the last three months, moved by the trend of six."""
import csv
import json
import os
from pathlib import Path

with open(Path(__file__).parent / "data" / "revenue.csv", newline="") as file:
    months = [int(row["cents"]) for row in csv.DictReader(file)]

trend = (months[-1] - months[0]) // (len(months) - 1)
forecast = sum(months[-3:]) // 3 + trend
print(f"{len(months)} months, trend {trend:+} cents a month, forecast {forecast} cents")
with open(os.environ["TENANTRY_OUTPUT"], "w") as output:
    json.dump({"forecast": forecast, "trend": trend}, output)
