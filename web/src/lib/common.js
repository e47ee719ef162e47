/*
 * What nearly every page uses. build.mjs puts it into each file that is loaded on demand, so that all of
 * this is one file and not one for each set of pages that shares something.
 */
import './accesstabs.js';
import './actions.js';
import './api.js';
import './clipboard.js';
import './dialog.js';
import './dom.js';
import './emitter.js';
import './finder.js';
import './format.js';
import './forms.js';
import './health.js';
import './inputs.js';
import './menu.js';
import './notify.js';
import './place.js';
import './progress.js';
import './quota.js';
import './recordings.js';
import './reload.js';
import './sse.js';
import './streams.js';
import './table.js';
import './upload.js';
