export { dockerFunctions, oldFunctions, type Functions } from './functions.ts';
export { TemplateError } from './mistake.ts';
export { parseRowFormat, table, type RowFormat } from './table.ts';
export { parseTemplate, type RenderManner, type Template } from './template.ts';
