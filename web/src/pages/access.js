/* The pages of the section “Access”: one file to load, since whoever opens one is likely to look at the next. */
export { auditPage } from './audit.js';
export { projectsPage } from './projects.js';
export { tokensPage } from './tokens.js';
export { webhooksPage } from './webhooks.js';
