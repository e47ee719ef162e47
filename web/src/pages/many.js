/* Machines by the dozen, in one file to load: sets, pools and what is leased from them. */
export { leasesPage } from './leases.js';
export { poolsPage } from './pools.js';
export { setPage, setsPage } from './sets.js';
