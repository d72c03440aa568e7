'use strict';
// A choice in the organization filter leads to the list of that organization. On a form, choosing
// the organization limits the other searched-for fields to its rows.
{
    const $ = django.jQuery;

    const withParameter = (address, name, value) => {
        const url = new URL(address, window.location.href);
        url.searchParams.delete(name);
        if (value) {
            url.searchParams.set(name, value);
        }
        return url.href;
    };

    $(document).on('change', 'select[data-filter-parameter]', (event) => {
        const {filterAddress, filterParameter} = event.target.dataset;
        const base = new URL(filterAddress || '?', window.location.href);
        window.location.href = withParameter(base.href, filterParameter, event.target.value);
    });

    $(document).on('change', '#id_organization', (event) => {
        document.querySelectorAll('select.organization-choices').forEach((element) => {
            const adapter = $(element).data('select2')?.dataAdapter;
            if (adapter) {
                adapter.ajaxOptions.url = withParameter(
                    adapter.ajaxOptions.url, 'organization', event.target.value
                );
                $(element).val(null).trigger('change');
            }
        });
    });
}
