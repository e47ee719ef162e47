/*
 * A dashboard of two files and a contract of none.
 */
#include "api/handlers/handlers.h"

#define BYTES(text) (const unsigned char *)text, sizeof(text) - 1

const struct web_asset web_assets[] = {
    {"assets/app-1.js", "text/javascript; charset=utf-8", "\"js\"", BYTES("alert"), BYTES("gz"),
     true},
    {"index.html", "text/html; charset=utf-8", "\"page\"", BYTES("<!doctype html>"), NULL, 0,
     false},
};
const size_t web_asset_count = 2;

const struct web_asset contract_openapi_yaml = {
    "openapi.yaml", "application/yaml", "\"y\"", BYTES("openapi"), NULL, 0, false};
const struct web_asset contract_openapi_json = {
    "openapi.json", "application/json", "\"j\"", BYTES("{}"), NULL, 0, false};
const struct web_asset contract_docs = {
    "docs", "text/html; charset=utf-8", "\"d\"", BYTES("docs"), BYTES("gz"), false};
const struct web_asset contract_docs_css = {
    "assets/docs.css", "text/css; charset=utf-8", "\"c\"", BYTES("body{}"), NULL, 0, false};
