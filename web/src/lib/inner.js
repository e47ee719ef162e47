/* What only the page of one machine has and not every one needs, in one file to load. */
export { guestPanel } from './guest.js';
export { userDataSheet } from './userdata.js';
export { diskPanel } from './vmdisk.js';
