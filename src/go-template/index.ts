export { dockerCliFunctions, dockerMachineFunctions, type TemplateFunctions } from './functions.ts';
export { TemplateError } from './template-error.ts';
export { parseRowFormat, formatTable, type RowFormat } from './table.ts';
export { parseTemplate, type RenderOptions, type Template } from './template.ts';
